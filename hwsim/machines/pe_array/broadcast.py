def plan_broadcast(machine, layer, batch): raise NotImplementedError
