// Package pluginregistrytest has what the drivers of tests have in common: they register
// with the node as plugins, and their calls fail or hang on request. csitest and dratest
// embed a Plugin each:
//
//	plugin := pluginregistrytest.New(&registration.PluginInfo{Type: registration.CSIPlugin, Name: "d", Endpoint: socket}, folder)
//	err := pluginregistrytest.Serve(ctx, plugin, func(s *grpc.Server) { spec.RegisterNodeServer(s, driver) })
package pluginregistrytest
