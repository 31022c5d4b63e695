package volume

import (
	"context"

	storagev1 "k8s.io/api/storage/v1"
)

// CSI finds the CSI drivers of a node. In edgekit it is edged/csi.
type CSI interface {
	// Driver gives the driver of that name that has registered, false where none has.
	Driver(name string) (CSINode, bool)
}

// CSIDriverReader reads what a driver says of itself in the API server, from what the
// node has stored. The error for a driver that says nothing matches
// interface{ NotFound() bool }.
type CSIDriverReader interface {
	// CSIDriver reads a driver's object.
	CSIDriver(ctx context.Context, name string) (*storagev1.CSIDriver, error)
}

// CSINode is the node service of a CSI driver. A call ends with its context; it may
// then have had its effect or have it still. Every call may be repeated:
// https://github.com/container-storage-interface/spec/blob/master/spec.md#node-service-rpc
type CSINode interface {
	// Capabilities says what the driver can do.
	Capabilities(ctx context.Context) (CSICapabilities, error)
	// Stage prepares a volume for all pods of the node.
	Stage(ctx context.Context, r CSIRequest) error
	// Publish shows a volume at a pod's path.
	Publish(ctx context.Context, r CSIRequest) error
	// Unpublish undoes Publish.
	Unpublish(ctx context.Context, volumeID, target string) error
	// Unstage undoes Stage.
	Unstage(ctx context.Context, volumeID, staging string) error
	// Expand grows a volume that is published, and gives its size in bytes.
	Expand(ctx context.Context, r CSIRequest, bytes int64) (int64, error)
	// Stats says how full a published volume is.
	Stats(ctx context.Context, volumeID, path, staging string) (CSIUsage, error)
}

// CSICapabilities is what the node service of a driver can do.
type CSICapabilities struct {
	Stage  bool // STAGE_UNSTAGE_VOLUME
	Stats  bool // GET_VOLUME_STATS
	Expand bool // EXPAND_VOLUME
	Group  bool // VOLUME_MOUNT_GROUP: the driver gives files to fsGroup itself
	// SingleWriter says that the driver tells ReadWriteOncePod from ReadWriteOnce:
	// SINGLE_NODE_MULTI_WRITER.
	SingleWriter bool
}

// CSIRequest is what a driver gets about a volume. Secrets are in no log.
type CSIRequest struct {
	VolumeID string
	Staging  string // path; "" where the driver does not stage
	Target   string // path; "" for Stage
	Context  map[string]string
	// PublishContext is what the attachment of the volume to this node says; nil where
	// the driver needs none.
	PublishContext map[string]string
	Secrets        map[string]string
	AccessMode     string // of Kubernetes: "ReadWriteOnce"
	FSType         string
	Options        []string // mount options
	Group          string   // fsGroup for a driver that has the capability; else ""
	Block          bool
	ReadOnly       bool
}

// CSIUsage is how full a volume is; what the driver does not say is 0.
type CSIUsage struct {
	Bytes, BytesUsed, BytesAvailable    int64
	Inodes, InodesUsed, InodesAvailable int64
}
