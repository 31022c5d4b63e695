// Package devices gives the devices of a node's device plugins to containers: it does what
// the device manager of a kubelet does, without the wire. edged/deviceplugin is the wire.
//
//	manager, err := devices.New(devices.Config{Store: store})
//	agent, err := edged.New(edged.Config{Devices: manager, ...})
//	server, err := deviceplugin.New(deviceplugin.Config{Devices: manager})
//	// in two goroutines: agent.Run(ctx), server.Run(ctx)
//
// # How a container gets its devices
//
//   - Reserve, while a pod is admitted, chooses devices for each container. It makes no
//     call and never waits. With a topology policy the Manager takes part as a provider of
//     hints instead. A pod for which there are too few devices is rejected.
//   - Prepare, before the pod's sandbox, asks the plugin which devices it prefers, and to
//     allocate them. What it answers is durable in the store when Prepare returns. A plugin
//     that refuses, or does not answer in time, has the pod rejected, and no other pod
//     waits meanwhile, but for one that wants devices of the same plugin.
//   - Edits, before each start of a container, is what the plugin answered then.
//   - Release takes devices back from pods that have ended.
//
// # Guarantees
//
//   - No device is given to two pods at a time, over restarts of the agent too.
//   - A container that runs keeps its devices, whatever becomes of the plugin. One that
//     starts after the agent did waits until the plugin has registered again and says that
//     the devices are healthy. A pod that has no devices yet is not admitted before, for
//     five minutes (Awaits).
//   - A resource whose plugin is gone has nothing allocatable at once, and no capacity
//     after five minutes.
//
// A Manager and its Endpoints may be used by several goroutines.
package devices
