def plan_spatial(machine, layer, batch): raise NotImplementedError
