package csi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/edged/volume"
)

// idle is how long a connection is kept without a call.
const idle = time.Minute

// maxAnswer bounds an answer of a driver or registrar, in bytes.
const maxAnswer = 1 << 20

func dial(socket string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///csi",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this machine
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}),
		grpc.WithAuthority("localhost"),
		grpc.WithIdleTimeout(idle),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	)
	if err != nil {
		return nil, fmt.Errorf("csi: %w", err)
	}
	return conn, nil
}

// node is the node service of a driver.
type node struct {
	conn   *grpc.ClientConn
	client spec.NodeClient
	can    volume.CSICapabilities // as the driver said when it registered
}

var _ volume.CSINode = (*node)(nil)

func newNode(conn *grpc.ClientConn) *node { return &node{conn: conn, client: spec.NewNodeClient(conn)} }

// ask asks a driver that registers what the node is to it, and what it can do.
func (n *node) ask(ctx context.Context) (Info, error) {
	got, err := n.client.NodeGetInfo(ctx, &spec.NodeGetInfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return Info{}, failure("NodeGetInfo", err)
	}
	if got.NodeId == "" {
		return Info{}, errors.New("NodeGetInfo gives no node_id")
	}
	can, err := n.client.NodeGetCapabilities(ctx, &spec.NodeGetCapabilitiesRequest{})
	if err != nil {
		return Info{}, failure("NodeGetCapabilities", err)
	}
	for _, c := range can.Capabilities {
		switch c.GetRpc().GetType() {
		case spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME:
			n.can.Stage = true
		case spec.NodeServiceCapability_RPC_GET_VOLUME_STATS:
			n.can.Stats = true
		case spec.NodeServiceCapability_RPC_EXPAND_VOLUME:
			n.can.Expand = true
		case spec.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP:
			n.can.Group = true
		case spec.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER:
			n.can.SingleWriter = true
		}
	}
	return Info{NodeID: got.NodeId, Topology: got.AccessibleTopology.GetSegments(), MaxVolumes: got.MaxVolumesPerNode}, nil
}

// failure says which call failed, in a kubelet's form: "rpc error: code = ...".
func failure(call string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", call, err)
}

func (n *node) Capabilities(context.Context) (volume.CSICapabilities, error) { return n.can, nil }

func (n *node) Stage(ctx context.Context, r volume.CSIRequest) error {
	_, err := n.client.NodeStageVolume(ctx, &spec.NodeStageVolumeRequest{
		VolumeId: r.VolumeID, StagingTargetPath: r.Staging, VolumeCapability: n.capability(r), Secrets: r.Secrets, VolumeContext: r.Context,
	})
	return failure("NodeStageVolume", err)
}

func (n *node) Publish(ctx context.Context, r volume.CSIRequest) error {
	_, err := n.client.NodePublishVolume(ctx, &spec.NodePublishVolumeRequest{
		VolumeId: r.VolumeID, StagingTargetPath: r.Staging, TargetPath: r.Target, VolumeCapability: n.capability(r),
		Readonly: r.ReadOnly, Secrets: r.Secrets, VolumeContext: r.Context,
	})
	return failure("NodePublishVolume", err)
}

// Unpublish also succeeds where the driver does not know the volume any more.
func (n *node) Unpublish(ctx context.Context, volumeID, target string) error {
	_, err := n.client.NodeUnpublishVolume(ctx, &spec.NodeUnpublishVolumeRequest{VolumeId: volumeID, TargetPath: target})
	return failure("NodeUnpublishVolume", unlessGone(err))
}

// Unstage also succeeds where the driver does not know the volume any more.
func (n *node) Unstage(ctx context.Context, volumeID, staging string) error {
	_, err := n.client.NodeUnstageVolume(ctx, &spec.NodeUnstageVolumeRequest{VolumeId: volumeID, StagingTargetPath: staging})
	return failure("NodeUnstageVolume", unlessGone(err))
}

// unlessGone takes NOT_FOUND for done: the volume was deleted, and the mount that it
// may have left is unmounted by the caller.
func unlessGone(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}

func (n *node) Expand(ctx context.Context, r volume.CSIRequest, bytes int64) (int64, error) {
	got, err := n.client.NodeExpandVolume(ctx, &spec.NodeExpandVolumeRequest{
		VolumeId: r.VolumeID, VolumePath: r.Target, StagingTargetPath: r.Staging, VolumeCapability: n.capability(r), Secrets: r.Secrets,
		CapacityRange: &spec.CapacityRange{RequiredBytes: bytes},
	})
	return got.GetCapacityBytes(), failure("NodeExpandVolume", err)
}

func (n *node) Stats(ctx context.Context, volumeID, path, staging string) (volume.CSIUsage, error) {
	got, err := n.client.NodeGetVolumeStats(ctx, &spec.NodeGetVolumeStatsRequest{VolumeId: volumeID, VolumePath: path, StagingTargetPath: staging})
	var u volume.CSIUsage
	for _, part := range got.GetUsage() {
		switch part.Unit {
		case spec.VolumeUsage_BYTES:
			u.Bytes, u.BytesUsed, u.BytesAvailable = part.Total, part.Used, part.Available
		case spec.VolumeUsage_INODES:
			u.Inodes, u.InodesUsed, u.InodesAvailable = part.Total, part.Used, part.Available
		}
	}
	return u, failure("NodeGetVolumeStats", err)
}

// capability says how a volume is used.
func (n *node) capability(r volume.CSIRequest) *spec.VolumeCapability {
	c := &spec.VolumeCapability{AccessMode: &spec.VolumeCapability_AccessMode{Mode: accessMode(r.AccessMode, n.can.SingleWriter)}}
	if r.Block {
		c.AccessType = &spec.VolumeCapability_Block{Block: &spec.VolumeCapability_BlockVolume{}}
		return c
	}
	c.AccessType = &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{FsType: r.FSType, MountFlags: r.Options, VolumeMountGroup: r.Group}}
	return c
}

// accessMode is a mode of Kubernetes for a driver that does or does not tell one
// writer from several on a node (KEP-2485).
func accessMode(mode string, singleWriter bool) spec.VolumeCapability_AccessMode_Mode {
	switch mode {
	case "ReadOnlyMany":
		return spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	case "ReadWriteMany":
		return spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	case "ReadWriteOncePod":
		if singleWriter {
			return spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
		}
	case "ReadWriteOnce":
		if singleWriter {
			return spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
		}
	default:
		return spec.VolumeCapability_AccessMode_UNKNOWN
	}
	return spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
}
