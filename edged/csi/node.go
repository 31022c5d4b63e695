package csi

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/edged/internal/pluginrpc"
	"github.com/edgekit/edgekit/edged/volume"
)

// node is the node service of a driver.
type node struct {
	conn *grpc.ClientConn
	can  volume.CSICapabilities // as the driver said when it registered
}

var _ volume.CSINode = (*node)(nil)

func newNode(conn *grpc.ClientConn) *node { return &node{conn: conn} }

// ask asks a driver that registers what the node is to it, and what it can do.
func (n *node) ask(ctx context.Context) (Info, error) {
	answer, err := n.call(ctx, "NodeGetInfo", nil, grpc.WaitForReady(true))
	if err != nil {
		return Info{}, err
	}
	info, err := readNodeInfo(answer)
	if err != nil {
		return Info{}, err
	}
	if info.NodeID == "" {
		return Info{}, errors.New("NodeGetInfo gives no node_id")
	}
	if answer, err = n.call(ctx, "NodeGetCapabilities", nil); err != nil {
		return Info{}, err
	}
	n.can, err = readCapabilities(answer)
	return info, err
}

// call makes a call of the node service. The error has a kubelet's form: "rpc error:
// code = ...", after the name of the call.
func (n *node) call(ctx context.Context, name string, req message, opts ...grpc.CallOption) (message, error) {
	answer, err := pluginrpc.Call(ctx, n.conn, "/csi.v1.Node/"+name, req, opts...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return answer, nil
}

func (n *node) Capabilities(context.Context) (volume.CSICapabilities, error) { return n.can, nil }

func (n *node) Stage(ctx context.Context, r volume.CSIRequest) error {
	_, err := n.call(ctx, "NodeStageVolume", stageRequest(r, n.can.SingleWriter))
	return err
}

func (n *node) Publish(ctx context.Context, r volume.CSIRequest) error {
	_, err := n.call(ctx, "NodePublishVolume", publishRequest(r, n.can.SingleWriter))
	return err
}

// Unpublish also succeeds where the driver does not know the volume any more.
func (n *node) Unpublish(ctx context.Context, volumeID, target string) error {
	_, err := n.call(ctx, "NodeUnpublishVolume", backRequest(volumeID, target))
	return unlessGone(err)
}

// Unstage also succeeds where the driver does not know the volume any more.
func (n *node) Unstage(ctx context.Context, volumeID, staging string) error {
	_, err := n.call(ctx, "NodeUnstageVolume", backRequest(volumeID, staging))
	return unlessGone(err)
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
	answer, err := n.call(ctx, "NodeExpandVolume", expandRequest(r, n.can.SingleWriter, bytes))
	if err != nil {
		return 0, err
	}
	return readSize(answer)
}

func (n *node) Stats(ctx context.Context, volumeID, path, staging string) (volume.CSIUsage, error) {
	answer, err := n.call(ctx, "NodeGetVolumeStats", statsRequest(volumeID, path, staging))
	if err != nil {
		return volume.CSIUsage{}, err
	}
	return readUsage(answer)
}
