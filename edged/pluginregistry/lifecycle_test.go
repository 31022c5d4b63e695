package pluginregistry_test

// lifecycles names what TestRunOnce holds to the rules.
var _ = []string{"pluginregistry.Registry"}
