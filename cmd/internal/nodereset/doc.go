// Package nodereset takes a node off its machine: the service, the containers of its pods,
// their cgroups, mounts, networks and logs, and the data folder.
//
//	plan, err := nodereset.New(ctx, nodereset.Config{DataDir: "/var/lib/edgekit", ...})
//	...
//	for _, item := range plan.Items() { ... } // show what will go, and ask
//	err = plan.Run(ctx, report)
//
// Run removes what Items lists and nothing else. It follows no link out of the data folder,
// and removes no folder below which something is still mounted. The identity goes last, and
// only when all else has gone, so that a Run that failed can be repeated.
package nodereset
