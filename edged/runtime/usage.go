package runtime

import (
	"context"
	"time"
)

// Meter is what a Runtime may implement besides, to measure what pods use. edged/stats
// makes the statistics of the node from it.
type Meter interface {
	// PodUsage reads what every running pod uses, with its containers.
	PodUsage(ctx context.Context) ([]PodUsage, error)
}

// Usage is what a container or a pod uses. A runtime that does not know a
// value leaves it nil.
type Usage struct {
	Time        time.Time // when it was read
	CPU         *uint64   // nanoseconds of one core since the start
	CPURate     *uint64   // nanoseconds of one core in a second, of late
	Memory      *uint64   // bytes, caches included
	WorkingSet  *uint64   // bytes that cannot be reclaimed at once: what limits count
	Available   *uint64   // bytes up to the limit
	RSS         *uint64   // bytes
	Faults      *uint64   // page faults since the start
	MajorFaults *uint64   // of these, those that read from a disk
	Swap        *uint64   // bytes
	// SwapAvailable is the bytes of swap up to the limit.
	SwapAvailable *uint64
	// How long processes waited for a CPU, for memory and for disks.
	CPUPressure, MemoryPressure, IOPressure *Pressure
}

// Pressure is how long processes waited for a resource: some of them, and all at once.
type Pressure struct{ Some, Full Stall }

// Stall is a time of waiting: in total, and as the percentage of the last 10, 60 and 300 seconds.
type Stall struct {
	Total                time.Duration
	Avg10, Avg60, Avg300 float64
}

// PodUsage is what one pod uses.
type PodUsage struct {
	Namespace, Name, UID string
	Usage                // of the pod as a whole
	Interfaces           []InterfaceUsage
	Processes            *uint64
	Containers           []ContainerUsage
}

// ContainerUsage is what one container uses.
type ContainerUsage struct {
	ID, Name string
	Usage
	Written       *uint64 // bytes of the writable layer
	WrittenInodes *uint64
}

// InterfaceUsage is the traffic of a network interface since it was made, the
// pod's default one first.
type InterfaceUsage struct {
	Name                                  string
	Received, Sent, ReceiveErrs, SendErrs *uint64
}
