package csi

import (
	"reflect"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"

	"github.com/edgekit/edgekit/edged/volume"
)

// TestRequests holds what is written to what the generated messages read.
func TestRequests(t *testing.T) {
	mounted := volume.CSIRequest{
		VolumeID: "vol-1", Staging: "/s", Target: "/t", Context: map[string]string{"a": "1", "b": ""}, Secrets: map[string]string{"k": "v"},
		AccessMode: "ReadWriteOnce", FSType: "ext4", Options: []string{"noatime", "ro"}, Group: "2000", ReadOnly: true, PublishContext: map[string]string{"device": "/dev/x"},
	}
	block := volume.CSIRequest{VolumeID: "vol-2", AccessMode: "ReadOnlyMany", Block: true}
	mount := &spec.VolumeCapability{
		AccessMode: &spec.VolumeCapability_AccessMode{Mode: spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		AccessType: &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{FsType: "ext4", MountFlags: []string{"noatime", "ro"}, VolumeMountGroup: "2000"}},
	}
	device := &spec.VolumeCapability{
		AccessMode: &spec.VolumeCapability_AccessMode{Mode: spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY},
		AccessType: &spec.VolumeCapability_Block{Block: &spec.VolumeCapability_BlockVolume{}},
	}
	for name, tt := range map[string]struct {
		wrote message
		want  proto.Message
	}{
		"stage": {stageRequest(mounted, false), &spec.NodeStageVolumeRequest{VolumeId: "vol-1", StagingTargetPath: "/s", VolumeCapability: mount, Secrets: mounted.Secrets, VolumeContext: mounted.Context, PublishContext: mounted.PublishContext}},
		"publish": {publishRequest(mounted, false), &spec.NodePublishVolumeRequest{
			VolumeId: "vol-1", StagingTargetPath: "/s", TargetPath: "/t", VolumeCapability: mount, Readonly: true, Secrets: mounted.Secrets, VolumeContext: mounted.Context, PublishContext: mounted.PublishContext,
		}},
		"publish a device": {publishRequest(block, false), &spec.NodePublishVolumeRequest{VolumeId: "vol-2", VolumeCapability: device}},
		"unpublish":        {backRequest("vol-1", "/t"), &spec.NodeUnpublishVolumeRequest{VolumeId: "vol-1", TargetPath: "/t"}},
		"unstage":          {backRequest("vol-1", "/s"), &spec.NodeUnstageVolumeRequest{VolumeId: "vol-1", StagingTargetPath: "/s"}},
		"expand": {expandRequest(mounted, false, 1<<40), &spec.NodeExpandVolumeRequest{
			VolumeId: "vol-1", VolumePath: "/t", StagingTargetPath: "/s", VolumeCapability: mount, Secrets: mounted.Secrets, CapacityRange: &spec.CapacityRange{RequiredBytes: 1 << 40},
		}},
		"stats": {statsRequest("vol-1", "/t", "/s"), &spec.NodeGetVolumeStatsRequest{VolumeId: "vol-1", VolumePath: "/t", StagingTargetPath: "/s"}},
	} {
		got := tt.want.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(tt.wrote, got); err != nil || !proto.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v\nwant %v", name, got, err, tt.want)
		}
	}
}

// TestAccessModes maps the modes of Kubernetes to those of CSI (KEP-2485).
func TestAccessModes(t *testing.T) {
	for _, tt := range []struct {
		mode   string
		single bool
		want   spec.VolumeCapability_AccessMode_Mode
	}{
		{"ReadWriteOnce", false, spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		{"ReadWriteOnce", true, spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER},
		{"ReadWriteOncePod", false, spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		{"ReadWriteOncePod", true, spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER},
		{"ReadOnlyMany", true, spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY},
		{"ReadWriteMany", false, spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
		{"?", false, spec.VolumeCapability_AccessMode_UNKNOWN},
	} {
		if got := accessMode(tt.mode, tt.single); got != int64(tt.want) {
			t.Errorf("%s, %t: %d, want %s", tt.mode, tt.single, got, tt.want)
		}
	}
}

// TestAnswers holds what is read to what the generated messages write.
func TestAnswers(t *testing.T) {
	wire := func(m proto.Message) []byte {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	check := func(name string, got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
	info, err := readNodeInfo(wire(&spec.NodeGetInfoResponse{NodeId: "n", MaxVolumesPerNode: 7, AccessibleTopology: &spec.Topology{Segments: map[string]string{"z": "a", "r": ""}}}))
	check("node", info, err, Info{NodeID: "n", MaxVolumes: 7, Topology: map[string]string{"z": "a", "r": ""}})
	var all []*spec.NodeServiceCapability
	for n := range spec.NodeServiceCapability_RPC_Type_name {
		all = append(all, &spec.NodeServiceCapability{Type: &spec.NodeServiceCapability_Rpc{Rpc: &spec.NodeServiceCapability_RPC{Type: spec.NodeServiceCapability_RPC_Type(n)}}})
	}
	can, err := readCapabilities(wire(&spec.NodeGetCapabilitiesResponse{Capabilities: all}))
	check("capabilities", can, err, volume.CSICapabilities{Stage: true, Stats: true, Expand: true, Group: true, SingleWriter: true})
	can, err = readCapabilities(wire(&spec.NodeGetCapabilitiesResponse{Capabilities: []*spec.NodeServiceCapability{
		{Type: &spec.NodeServiceCapability_Rpc{Rpc: &spec.NodeServiceCapability_RPC{Type: spec.NodeServiceCapability_RPC_EXPAND_VOLUME}}},
	}}))
	check("a capability", can, err, volume.CSICapabilities{Expand: true})
	size, err := readSize(wire(&spec.NodeExpandVolumeResponse{CapacityBytes: 1 << 41}))
	check("size", size, err, int64(1<<41))
	usage, err := readUsage(wire(&spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{
		{Unit: spec.VolumeUsage_BYTES, Total: 3, Used: 2, Available: 1}, {Unit: spec.VolumeUsage_INODES, Total: 6, Used: 5, Available: 4}, {Total: 9},
	}}))
	check("usage", usage, err, volume.CSIUsage{Bytes: 3, BytesUsed: 2, BytesAvailable: 1, Inodes: 6, InodesUsed: 5, InodesAvailable: 4})
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0x01, 'n', 0x10, 0x07, 0x1a, 0x02, 0x0a, 0x00})
	f.Fuzz(func(_ *testing.T, b []byte) {
		readNodeInfo(b)
		readCapabilities(b)
		readSize(b)
		readUsage(b)
	})
}
