// Package topology gives containers CPUs and memory of their own: it does what the CPU
// manager, the memory manager and the topology manager of a kubelet do. It decides; it
// sets nothing. Only [Read] and [Load] read files.
//
//	a, err := topology.New(topology.Config{Machine: machine, CPUPolicy: topology.Static, ...})
//	err = a.Restore(state)              // what an agent before this one gave away
//	refused := a.Admit(pod)             // nil: its containers have what they need
//	cpus, own := a.CPUs(uid, container) // the value of cpuset.cpus
//	a.Release(keep)                     // pods that have ended give back what they have
//
// The rules are those of pkg/kubelet/cm/{cpumanager,memorymanager,topologymanager} of
// Kubernetes 1.37 with its default feature gates: a container gets CPUs of its own if
// its pod is Guaranteed and it requests whole CPUs, and none of a pod with resources of
// its own (PodLevelResourceManagers is off). See
// https://kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies/.
//
// What else has a place in the machine, such as devices, takes part as a [Provider].
package topology
