from hwsim.engine.program import *
