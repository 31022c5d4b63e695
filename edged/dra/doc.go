// Package dra is the node's side of Dynamic Resource Allocation (KEP-4381): it has the DRA
// drivers of the node prepare the resource claims of its pods.
//
//	claims, err := dra.New(dra.Config{Store: store, Claims: objects})
//	plugins, err := pluginregistry.New(pluginregistry.Config{
//		Folder: "/var/lib/kubelet/plugins_registry", Handlers: map[string]pluginregistry.Handler{pluginregistry.DRAPlugin: claims},
//	})
//	agent, err := edged.New(edged.Config{ResourceClaims: claims, ...})
//	// each in a goroutine: plugins.Run(ctx), claims.Run(ctx), agent.Run(ctx)
//
// # What happens to a claim
//
// Before a pod gets its sandbox, Prepare reads its claims, which the cloud has allocated
// and reserved for the pod, and calls NodePrepareResources of each driver that has a device
// in them. What the driver answers, devices with names of the Container Device Interface,
// is what CDIDevices gives a container. When the last pod that uses a claim has ended,
// Unprepare calls NodeUnprepareResources.
//
// A pod that uses a claim is noted in the store before the first driver is called, and the
// devices before Prepare returns. So a crash between any two steps is mended by a repetition:
// both calls are idempotent, as the drivers' contract says. In each life of the program a
// claim is prepared anew for the first sandbox that needs it, since a driver may keep its
// CDI files where a reboot removes them; what runs on needs no driver.
//
// # Errors
//
// Errors are for the people who look at the pod: they name the claim or driver and have the
// kubelet's words. All calls may be repeated. A driver that hangs is given up after 45
// seconds and holds up only the pods that share the claim.
//
// # ResourceSlices
//
// Run reports which drivers the node has. One that cannot be reached counts for another 30
// seconds, as for a kubelet; then its ResourceSlices should be deleted.
//
// A Manager may be used by several goroutines.
package dra
