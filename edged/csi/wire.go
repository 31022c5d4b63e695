package csi

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/edged/volume"
)

// The messages of CSI (csi.proto, package csi.v1) and of registrars
// (pluginregistration/v1/api.proto) are written by hand: their generated packages cost
// each node more than a mebibyte, used or not. The numbers are those of the .proto
// files; a test compares each message with the generated ones.

// message is a protobuf message that is being written. Fields with their zero value
// are left out, as in proto3.
type message []byte

func (m *message) text(number protowire.Number, s string) {
	if s != "" {
		*m = protowire.AppendString(protowire.AppendTag(*m, number, protowire.BytesType), s)
	}
}

func (m *message) number(number protowire.Number, n int64) {
	if n != 0 {
		*m = protowire.AppendVarint(protowire.AppendTag(*m, number, protowire.VarintType), uint64(n)) //nolint:gosec // int64 on the wire
	}
}

func (m *message) yes(number protowire.Number, b bool) {
	if b {
		m.number(number, 1)
	}
}

func (m *message) part(number protowire.Number, part message) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, number, protowire.BytesType), part)
}

func (m *message) pairs(number protowire.Number, pairs map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		var entry message
		entry.text(1, key)
		entry.text(2, pairs[key])
		m.part(number, entry)
	}
}

// field is one field of a message that is read.
type field struct {
	number protowire.Number
	text   []byte // of a string or a message
	value  int64  // of a number
}

var errWire = errors.New("csi: the answer is no message of protobuf")

// eachField calls read for each field of a message, but for those of other types than
// these messages have.
func eachField(data []byte, read func(field) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errWire
		}
		data = data[n:]
		f := field{number: number}
		switch kind {
		case protowire.BytesType:
			f.text, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(data)
			f.value = int64(v) //nolint:gosec // int64 on the wire
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
			f.number = 0
		}
		if n < 0 {
			return errWire
		}
		data = data[n:]
		if f.number != 0 {
			if err := read(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// capability is a VolumeCapability.
func capability(r volume.CSIRequest, singleWriter bool) message {
	var kind, mode, c message
	if r.Block {
		c.part(1, nil)
	} else {
		kind.text(1, r.FSType)
		for _, option := range r.Options {
			kind.part(2, message(option))
		}
		kind.text(3, r.Group)
		c.part(2, kind)
	}
	mode.number(1, accessMode(r.AccessMode, singleWriter))
	c.part(3, mode)
	return c
}

// Modes of a VolumeCapability.AccessMode.
const (
	modeUnknown                = 0
	modeSingleNodeWriter       = 1
	modeMultiNodeReaderOnly    = 3
	modeMultiNodeMultiWriter   = 5
	modeSingleNodeSingleWriter = 6
	modeSingleNodeMultiWriter  = 7
)

// accessMode is a mode of Kubernetes for a driver that does or does not tell one
// writer from several on a node (KEP-2485).
func accessMode(mode string, singleWriter bool) int64 {
	switch mode {
	case "ReadOnlyMany":
		return modeMultiNodeReaderOnly
	case "ReadWriteMany":
		return modeMultiNodeMultiWriter
	case "ReadWriteOncePod":
		if singleWriter {
			return modeSingleNodeSingleWriter
		}
	case "ReadWriteOnce":
		if singleWriter {
			return modeSingleNodeMultiWriter
		}
	default:
		return modeUnknown
	}
	return modeSingleNodeWriter
}

func stageRequest(r volume.CSIRequest, singleWriter bool) message {
	var m message
	m.text(1, r.VolumeID)
	m.pairs(2, r.PublishContext)
	m.text(3, r.Staging)
	m.part(4, capability(r, singleWriter))
	m.pairs(5, r.Secrets)
	m.pairs(6, r.Context)
	return m
}

func publishRequest(r volume.CSIRequest, singleWriter bool) message {
	var m message
	m.text(1, r.VolumeID)
	m.pairs(2, r.PublishContext)
	m.text(3, r.Staging)
	m.text(4, r.Target)
	m.part(5, capability(r, singleWriter))
	m.yes(6, r.ReadOnly)
	m.pairs(7, r.Secrets)
	m.pairs(8, r.Context)
	return m
}

// backRequest is a NodeUnpublishVolumeRequest or a NodeUnstageVolumeRequest.
func backRequest(volumeID, path string) message {
	var m message
	m.text(1, volumeID)
	m.text(2, path)
	return m
}

func expandRequest(r volume.CSIRequest, singleWriter bool, bytes int64) message {
	var m, size message
	m.text(1, r.VolumeID)
	m.text(2, r.Target)
	size.number(1, bytes)
	m.part(3, size)
	m.text(4, r.Staging)
	m.part(5, capability(r, singleWriter))
	m.pairs(6, r.Secrets)
	return m
}

func statsRequest(volumeID, path, staging string) message {
	m := backRequest(volumeID, path)
	m.text(3, staging)
	return m
}

// statusRequest is a RegistrationStatus.
func statusRequest(err error) message {
	var m message
	m.yes(1, err == nil)
	if err != nil {
		m.text(2, err.Error())
	}
	return m
}

// plugin is a PluginInfo.
type plugin struct {
	kind, name, endpoint string
	versions             []string
}

func readPlugin(data []byte) (plugin, error) {
	var p plugin
	err := eachField(data, func(f field) error {
		switch f.number {
		case 1:
			p.kind = string(f.text)
		case 2:
			p.name = string(f.text)
		case 3:
			p.endpoint = string(f.text)
		case 4:
			p.versions = append(p.versions, string(f.text))
		}
		return nil
	})
	return p, err
}

// readNodeInfo reads a NodeGetInfoResponse.
func readNodeInfo(data []byte) (Info, error) {
	var info Info
	err := eachField(data, func(f field) error {
		switch f.number {
		case 1:
			info.NodeID = string(f.text)
		case 2:
			info.MaxVolumes = f.value
		case 3:
			return eachField(f.text, func(segment field) error {
				if segment.number != 1 {
					return nil
				}
				var key, value string
				err := eachField(segment.text, func(f field) error {
					switch f.number {
					case 1:
						key = string(f.text)
					case 2:
						value = string(f.text)
					}
					return nil
				})
				if info.Topology == nil {
					info.Topology = make(map[string]string)
				}
				info.Topology[key] = value
				return err
			})
		}
		return nil
	})
	return info, err
}

// readCapabilities reads a NodeGetCapabilitiesResponse.
func readCapabilities(data []byte) (volume.CSICapabilities, error) {
	var can volume.CSICapabilities
	one := func(f field) error {
		if f.number != 1 {
			return nil
		}
		switch f.value {
		case 1:
			can.Stage = true
		case 2:
			can.Stats = true
		case 3:
			can.Expand = true
		case 5:
			can.SingleWriter = true
		case 6:
			can.Group = true
		}
		return nil
	}
	inside := func(read func(field) error) func(field) error {
		return func(f field) error {
			if f.number != 1 {
				return nil
			}
			return eachField(f.text, read)
		}
	}
	err := eachField(data, inside(inside(one)))
	return can, err
}

// readSize reads a NodeExpandVolumeResponse.
func readSize(data []byte) (size int64, err error) {
	err = eachField(data, func(f field) error {
		if f.number == 1 {
			size = f.value
		}
		return nil
	})
	return size, err
}

// readUsage reads a NodeGetVolumeStatsResponse.
func readUsage(data []byte) (volume.CSIUsage, error) {
	var u volume.CSIUsage
	err := eachField(data, func(f field) error {
		if f.number != 1 {
			return nil
		}
		var available, total, used, unit int64
		err := eachField(f.text, func(f field) error {
			switch f.number {
			case 1:
				available = f.value
			case 2:
				total = f.value
			case 3:
				used = f.value
			case 4:
				unit = f.value
			}
			return nil
		})
		switch unit {
		case 1:
			u.Bytes, u.BytesUsed, u.BytesAvailable = total, used, available
		case 2:
			u.Inodes, u.InodesUsed, u.InodesAvailable = total, used, available
		}
		return err
	})
	return u, err
}

// frames is grpc's codec for messages that are bytes already.
type frames struct{}

func (frames) Name() string { return "proto" }

func (frames) Marshal(v any) ([]byte, error) {
	m, ok := v.(message)
	if !ok {
		return nil, fmt.Errorf("csi: %T is no message", v)
	}
	return m, nil
}

func (frames) Unmarshal(data []byte, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("csi: %T is no message", v)
	}
	*m = slices.Clone(data)
	return nil
}
