package upgrade

const killVariable = "EDGEKIT_UPGRADE_TEST_KILL"

func killedProgram() int { return 0 }
