package deviceapi

import (
	"errors"
	"fmt"
	"slices"

	"github.com/edgekit/edgekit/edged/internal/protomsg"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Names of the API.
const (
	Version = "v1beta1" // the version of the API that is spoken
	Healthy = "Healthy" // a Device's health

	RegistrationService = "v1beta1.Registration" // of the node: Register
	PluginService       = "v1beta1.DevicePlugin" // of a plugin
)

// Limits of what a plugin may send. The API has none for the number of devices: a
// kubelet is limited only by the size of a message, 4 MiB.
const (
	MaxMessage = 4 << 20 // bytes, as grpc's default
	MaxDevices = 20000   // of one resource
	MaxID      = 253     // bytes; the API says 63, and plugins exceed that
	MaxEdits   = 256 << 10
	maxLists   = 4096 // entries in one list of an Edits
)

// Device is a device that a plugin has.
type Device struct {
	ID      string
	Healthy bool
	Nodes   uint64 // bit n: it is on NUMA node n; 0 is unknown
}

// Options are a plugin's DevicePluginOptions.
type Options struct {
	PreStartRequired    bool // PreStartContainer is called before each start of a container
	PreferredAllocation bool // GetPreferredAllocation is called before Allocate
}

// Registration is a RegisterRequest.
type Registration struct {
	Version, Endpoint, Resource string
	Options                     Options
}

// Edits is what a container needs to use its devices: a ContainerAllocateResponse.
type Edits struct {
	Env         map[string]string
	Mounts      []runtime.Mount
	Devices     []runtime.Device
	Annotations map[string]string
	CDIDevices  []string // fully qualified names, such as vendor.com/gpu=0
}

// Encode writes the request of a plugin.
func (r Registration) Encode() protomsg.Message {
	var m protomsg.Message
	m.Text(1, r.Version)
	m.Text(2, r.Endpoint)
	m.Text(3, r.Resource)
	m.Part(4, r.Options.Encode())
	return m
}

// ReadRegistration reads a RegisterRequest.
func ReadRegistration(data []byte) (Registration, error) {
	var r Registration
	err := protomsg.EachField(data, func(f protomsg.Field) (err error) {
		switch f.Number {
		case 1:
			r.Version = string(f.Bytes)
		case 2:
			r.Endpoint = string(f.Bytes)
		case 3:
			r.Resource = string(f.Bytes)
		case 4:
			r.Options, err = ReadOptions(f.Bytes)
		}
		return err
	})
	return r, err
}

// Encode writes a DevicePluginOptions.
func (o Options) Encode() protomsg.Message {
	var m protomsg.Message
	m.Bool(1, o.PreStartRequired)
	m.Bool(2, o.PreferredAllocation)
	return m
}

// ReadOptions reads a DevicePluginOptions.
func ReadOptions(data []byte) (Options, error) {
	var o Options
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		switch f.Number {
		case 1:
			o.PreStartRequired = f.Value != 0
		case 2:
			o.PreferredAllocation = f.Value != 0
		}
		return nil
	})
	return o, err
}

// EncodeDevices writes a ListAndWatchResponse.
func EncodeDevices(list []Device) protomsg.Message {
	var m protomsg.Message
	for _, d := range list {
		var one protomsg.Message
		one.Text(1, d.ID)
		health := "Unhealthy"
		if d.Healthy {
			health = Healthy
		}
		one.Text(2, health)
		if d.Nodes != 0 {
			one.Part(3, encodeNodes(d.Nodes))
		}
		m.Part(1, one)
	}
	return m
}

// encodeNodes writes a TopologyInfo.
func encodeNodes(mask uint64) protomsg.Message {
	var m protomsg.Message
	for n := range int64(64) {
		if mask>>n&1 == 1 {
			var node protomsg.Message
			node.Number(1, n)
			m.Part(1, node)
		}
	}
	return m
}

// ErrDevices says why a list of devices is refused as a whole.
var ErrDevices = fmt.Errorf("a plugin may have %d devices", MaxDevices)

// ReadDevices reads a ListAndWatchResponse. Of devices with one ID the last counts, as in
// a kubelet. Devices without an ID, or with one longer than MaxID, are left out and counted.
func ReadDevices(data []byte) (list []Device, bad int, err error) {
	n := 0
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		if n++; n > MaxDevices {
			return ErrDevices
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	list = make([]Device, 0, n)
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		if f.Number != 1 {
			return nil
		}
		d, err := readDevice(f.Bytes)
		switch {
		case err != nil:
			return err
		case d.ID == "":
			bad++
		default:
			list = append(list, d)
		}
		return nil
	})
	return list, bad, err
}

// readDevice reads a Device; one with an ID that is too long has none.
func readDevice(data []byte) (Device, error) {
	var d Device
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		switch f.Number {
		case 1:
			d.ID = ""
			if len(f.Bytes) <= MaxID {
				d.ID = string(f.Bytes)
			}
		case 2:
			d.Healthy = string(f.Bytes) == Healthy
		case 3:
			nodes, err := readNodes(f.Bytes)
			d.Nodes |= nodes
			return err
		}
		return nil
	})
	return d, err
}

// readNodes reads a TopologyInfo. A machine has no NUMA node above 63 here.
func readNodes(data []byte) (mask uint64, err error) {
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		if f.Number != 1 {
			return nil
		}
		id := int64(0)
		err := protomsg.EachField(f.Bytes, func(f protomsg.Field) error {
			if f.Number == 1 {
				id = f.Value
			}
			return nil
		})
		if id >= 0 && id < 64 {
			mask |= 1 << id
		}
		return err
	})
	return mask, err
}

// EncodeIDs writes a list of devices' IDs in a message of their own: a
// ContainerAllocateRequest, a PreStartContainerRequest or a
// ContainerPreferredAllocationResponse.
func EncodeIDs(ids []string) protomsg.Message {
	var m protomsg.Message
	for _, id := range ids {
		m.Item(1, id)
	}
	return m
}

// ReadIDs reads what EncodeIDs writes.
func ReadIDs(data []byte) (ids []string, err error) {
	n := 0
	is := func(f protomsg.Field) bool { return f.Number == 1 && len(f.Bytes) > 0 && len(f.Bytes) <= MaxID }
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		if is(f) {
			n++
		}
		return nil
	})
	if err == nil && n > MaxDevices {
		err = ErrDevices
	}
	if err != nil {
		return nil, err
	}
	ids = make([]string, 0, n)
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		if is(f) {
			ids = append(ids, string(f.Bytes))
		}
		return nil
	})
	return ids, err
}

// In writes a message with one part: the requests and answers for one container, of
// which there is always one.
func In(part protomsg.Message) protomsg.Message {
	var m protomsg.Message
	m.Part(1, part)
	return m
}

// ErrNoAnswer is the error for an answer without a container.
var ErrNoAnswer = errors.New("no containers in the answer")

// First reads the first part of what In writes.
func First(data []byte) (first []byte, err error) {
	found := false
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		if f.Number == 1 && !found {
			first, found = f.Bytes, true
		}
		return nil
	})
	if err == nil && !found {
		err = ErrNoAnswer
	}
	return first, err
}

// Preference is a ContainerPreferredAllocationRequest.
type Preference struct {
	Available, Must []string
	Size            int64
}

// Encode writes the request.
func (p Preference) Encode() protomsg.Message {
	m := EncodeIDs(p.Available)
	for _, id := range p.Must {
		m.Item(2, id)
	}
	m.Number(3, p.Size)
	return m
}

// ReadPreference reads the request.
func ReadPreference(data []byte) (Preference, error) {
	var p Preference
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		switch f.Number {
		case 1:
			p.Available = append(p.Available, string(f.Bytes))
		case 2:
			p.Must = append(p.Must, string(f.Bytes))
		case 3:
			p.Size = f.Value
		}
		return nil
	})
	return p, err
}

// Encode writes a ContainerAllocateResponse.
func (e Edits) Encode() protomsg.Message {
	var m protomsg.Message
	m.Pairs(1, e.Env)
	for _, mount := range e.Mounts {
		var one protomsg.Message
		one.Text(1, mount.ContainerPath)
		one.Text(2, mount.HostPath)
		one.Bool(3, mount.ReadOnly)
		m.Part(2, one)
	}
	for _, d := range e.Devices {
		var one protomsg.Message
		one.Text(1, d.ContainerPath)
		one.Text(2, d.HostPath)
		one.Text(3, d.Permissions)
		m.Part(3, one)
	}
	m.Pairs(4, e.Annotations)
	for _, name := range e.CDIDevices {
		var one protomsg.Message
		one.Text(1, name)
		m.Part(5, one)
	}
	return m
}

// ErrEdits is the error for an answer to Allocate that is too large.
var ErrEdits = fmt.Errorf("the answer to Allocate is too large: a container may get %d bytes, and %d entries of a kind", MaxEdits, maxLists)

// ReadEdits reads a ContainerAllocateResponse. An entry that names nothing is left out.
func ReadEdits(data []byte) (Edits, error) {
	var e Edits
	if len(data) > MaxEdits {
		return e, ErrEdits
	}
	var count [6]int
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		if f.Number < 6 && len(f.Bytes) > 2 { // shorter ones name nothing
			count[f.Number]++
		}
		return nil
	})
	if err == nil && slices.Max(count[:]) > maxLists {
		err = ErrEdits
	}
	if err != nil {
		return e, err
	}
	if count[1] > 0 {
		e.Env = make(map[string]string, count[1])
	}
	if count[4] > 0 {
		e.Annotations = make(map[string]string, count[4])
	}
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		one, readOnly, err := readEntry(f.Bytes)
		if err != nil || one[1] == "" {
			return err
		}
		switch f.Number {
		case 1:
			e.Env[one[1]] = one[2]
		case 2:
			if one[2] != "" {
				e.Mounts = append(slices.Grow(e.Mounts, count[2]), runtime.Mount{ContainerPath: one[1], HostPath: one[2], ReadOnly: readOnly})
				count[2] = 0 // there is room for all now
			}
		case 3:
			if one[2] != "" {
				e.Devices = append(slices.Grow(e.Devices, count[3]), runtime.Device{ContainerPath: one[1], HostPath: one[2], Permissions: one[3]})
				count[3] = 0
			}
		case 4:
			e.Annotations[one[1]] = one[2]
		case 5:
			e.CDIDevices = append(e.CDIDevices, one[1])
		}
		return nil
	})
	if err != nil {
		return Edits{}, err
	}
	return e, nil
}

// readEntry reads the strings of a Mount, a DeviceSpec, a CDIDevice or an entry of a map,
// by their numbers, and whether a mount is read-only.
func readEntry(data []byte) (text [4]string, readOnly bool, err error) {
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		switch {
		case f.Number < 4 && f.Bytes != nil:
			text[f.Number] = string(f.Bytes)
		case f.Number == 3:
			readOnly = f.Value != 0
		}
		return nil
	})
	return text, readOnly, err
}
