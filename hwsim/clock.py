from hwsim.engine.clock import *
