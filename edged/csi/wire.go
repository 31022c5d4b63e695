package csi

import (
	"github.com/edgekit/edgekit/edged/internal/protomsg"
	"github.com/edgekit/edgekit/edged/volume"
)

// The messages of CSI (csi.proto, package csi.v1) are written by hand: see protomsg. The
// numbers are those of the .proto file; a test compares each message with the generated
// ones.

type message = protomsg.Message

// capability is a VolumeCapability.
func capability(r volume.CSIRequest, singleWriter bool) message {
	var kind, mode, c message
	if r.Block {
		c.Part(1, nil)
	} else {
		kind.Text(1, r.FSType)
		for _, option := range r.Options {
			kind.Item(2, option)
		}
		kind.Text(3, r.Group)
		c.Part(2, kind)
	}
	mode.Number(1, accessMode(r.AccessMode, singleWriter))
	c.Part(3, mode)
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
	m.Text(1, r.VolumeID)
	m.Pairs(2, r.PublishContext)
	m.Text(3, r.Staging)
	m.Part(4, capability(r, singleWriter))
	m.Pairs(5, r.Secrets)
	m.Pairs(6, r.Context)
	return m
}

func publishRequest(r volume.CSIRequest, singleWriter bool) message {
	var m message
	m.Text(1, r.VolumeID)
	m.Pairs(2, r.PublishContext)
	m.Text(3, r.Staging)
	m.Text(4, r.Target)
	m.Part(5, capability(r, singleWriter))
	m.Bool(6, r.ReadOnly)
	m.Pairs(7, r.Secrets)
	m.Pairs(8, r.Context)
	return m
}

// backRequest is a NodeUnpublishVolumeRequest or a NodeUnstageVolumeRequest.
func backRequest(volumeID, path string) message {
	var m message
	m.Text(1, volumeID)
	m.Text(2, path)
	return m
}

func expandRequest(r volume.CSIRequest, singleWriter bool, bytes int64) message {
	var m, size message
	m.Text(1, r.VolumeID)
	m.Text(2, r.Target)
	size.Number(1, bytes)
	m.Part(3, size)
	m.Text(4, r.Staging)
	m.Part(5, capability(r, singleWriter))
	m.Pairs(6, r.Secrets)
	return m
}

func statsRequest(volumeID, path, staging string) message {
	m := backRequest(volumeID, path)
	m.Text(3, staging)
	return m
}

// readNodeInfo reads a NodeGetInfoResponse.
func readNodeInfo(data []byte) (Info, error) {
	var info Info
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		switch f.Number {
		case 1:
			info.NodeID = string(f.Bytes)
		case 2:
			info.MaxVolumes = f.Value
		case 3:
			return protomsg.EachField(f.Bytes, func(segment protomsg.Field) error {
				if segment.Number != 1 {
					return nil
				}
				var key, value string
				err := protomsg.EachField(segment.Bytes, func(f protomsg.Field) error {
					switch f.Number {
					case 1:
						key = string(f.Bytes)
					case 2:
						value = string(f.Bytes)
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
	one := func(f protomsg.Field) error {
		if f.Number != 1 {
			return nil
		}
		switch f.Value {
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
	inside := func(read func(protomsg.Field) error) func(protomsg.Field) error {
		return func(f protomsg.Field) error {
			if f.Number != 1 {
				return nil
			}
			return protomsg.EachField(f.Bytes, read)
		}
	}
	err := protomsg.EachField(data, inside(inside(one)))
	return can, err
}

// readSize reads a NodeExpandVolumeResponse.
func readSize(data []byte) (size int64, err error) {
	err = protomsg.EachField(data, func(f protomsg.Field) error {
		if f.Number == 1 {
			size = f.Value
		}
		return nil
	})
	return size, err
}

// readUsage reads a NodeGetVolumeStatsResponse.
func readUsage(data []byte) (volume.CSIUsage, error) {
	var u volume.CSIUsage
	err := protomsg.EachField(data, func(f protomsg.Field) error {
		if f.Number != 1 {
			return nil
		}
		var available, total, used, unit int64
		err := protomsg.EachField(f.Bytes, func(f protomsg.Field) error {
			switch f.Number {
			case 1:
				available = f.Value
			case 2:
				total = f.Value
			case 3:
				used = f.Value
			case 4:
				unit = f.Value
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
