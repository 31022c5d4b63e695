package csitest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/pluginregistry/pluginregistrytest"
)

// Config sets up a Driver. All of Name, Node, Folder and Registry are required.
type Config struct {
	Name     string
	Node     string // the node's name to the driver
	Folder   string // absolute; the driver's socket, and its volumes in "volumes"
	Registry string // absolute; where the registrar's socket goes
	// Without are capabilities of the node service that the driver does not have.
	Without  []spec.NodeServiceCapability_RPC_Type
	Topology map[string]string
}

// Driver is a CSI driver with its registrar.
type Driver struct {
	spec.UnimplementedNodeServer
	*pluginregistrytest.Plugin
	cfg   Config
	guard lifecycle.Guard

	mu       sync.Mutex
	calls    []string
	contexts map[string]map[string]string // by volume, of the last NodePublishVolume
	secrets  map[string]map[string]string
	attached map[string]map[string]string // by volume, the publish context of its last NodePublishVolume
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Driver, error) {
	if cfg.Name == "" || cfg.Node == "" || !filepath.IsAbs(cfg.Folder) || !filepath.IsAbs(cfg.Registry) {
		return nil, errors.New("csitest: Config.Name and Node are required, Folder and Registry must be absolute paths")
	}
	info := &registration.PluginInfo{Type: registration.CSIPlugin, Name: cfg.Name, Endpoint: filepath.Join(cfg.Folder, "csi.sock"), SupportedVersions: []string{"1.0.0"}}
	return &Driver{
		Plugin: pluginregistrytest.New(info, cfg.Registry), cfg: cfg,
		contexts: make(map[string]map[string]string), secrets: make(map[string]map[string]string), attached: make(map[string]map[string]string),
	}, nil
}

// Run serves the driver and its registrar until ctx ends, and then returns nil. A second
// call returns edged.ErrStarted.
func (d *Driver) Run(ctx context.Context) error {
	if err := d.guard.Start(); err != nil {
		return err
	}
	if err := pluginregistrytest.Serve(ctx, d.Plugin, func(s *grpc.Server) { spec.RegisterNodeServer(s, d) }, grpc.UnaryInterceptor(d.intercept)); err != nil {
		return fmt.Errorf("csitest: %w", err)
	}
	return nil
}

// Calls lists the calls about volumes, each as "Name volume", and forgets them.
func (d *Driver) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return calls
}

// Published gives the context and the secrets of a volume's last NodePublishVolume.
func (d *Driver) Published(volume string) (volumeContext, secrets map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.contexts[volume], d.secrets[volume]
}

// Attachment gives the publish context of a volume's last NodePublishVolume: what the
// attachment of the volume to the node says.
func (d *Driver) Attachment(volume string) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.attached[volume]
}

// Volume is the folder of a volume.
func (d *Driver) Volume(id string) string { return filepath.Join(d.cfg.Folder, "volumes", id) }

// intercept notes calls about volumes, and has them fail or hang.
func (d *Driver) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	call := filepath.Base(info.FullMethod)
	if v, ok := req.(interface{ GetVolumeId() string }); ok {
		d.mu.Lock()
		d.calls = append(d.calls, call+" "+v.GetVolumeId())
		d.mu.Unlock()
	}
	if err := d.Fault(ctx, call); err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

// NodeGetInfo says what the node is to the driver.
func (d *Driver) NodeGetInfo(context.Context, *spec.NodeGetInfoRequest) (*spec.NodeGetInfoResponse, error) {
	return &spec.NodeGetInfoResponse{NodeId: d.cfg.Node, MaxVolumesPerNode: 16, AccessibleTopology: &spec.Topology{Segments: d.cfg.Topology}}, nil
}

// NodeGetCapabilities lists all but those of Config.Without.
func (d *Driver) NodeGetCapabilities(context.Context, *spec.NodeGetCapabilitiesRequest) (*spec.NodeGetCapabilitiesResponse, error) {
	out := &spec.NodeGetCapabilitiesResponse{}
	for _, t := range []spec.NodeServiceCapability_RPC_Type{
		spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, spec.NodeServiceCapability_RPC_GET_VOLUME_STATS, spec.NodeServiceCapability_RPC_EXPAND_VOLUME,
	} {
		if !slices.Contains(d.cfg.Without, t) {
			out.Capabilities = append(out.Capabilities, &spec.NodeServiceCapability{Type: &spec.NodeServiceCapability_Rpc{Rpc: &spec.NodeServiceCapability_RPC{Type: t}}})
		}
	}
	return out, nil
}

// NodeStageVolume binds the volume's folder, which it makes.
func (d *Driver) NodeStageVolume(_ context.Context, r *spec.NodeStageVolumeRequest) (*spec.NodeStageVolumeResponse, error) {
	return &spec.NodeStageVolumeResponse{}, d.bind(d.Volume(r.VolumeId), r.StagingTargetPath)
}

// NodeUnstageVolume unmounts it.
func (d *Driver) NodeUnstageVolume(_ context.Context, r *spec.NodeUnstageVolumeRequest) (*spec.NodeUnstageVolumeResponse, error) {
	return &spec.NodeUnstageVolumeResponse{}, unmount(r.StagingTargetPath)
}

// NodePublishVolume binds what was staged, or else the volume's folder.
func (d *Driver) NodePublishVolume(_ context.Context, r *spec.NodePublishVolumeRequest) (*spec.NodePublishVolumeResponse, error) {
	d.mu.Lock()
	d.contexts[r.VolumeId], d.secrets[r.VolumeId], d.attached[r.VolumeId] = r.VolumeContext, r.Secrets, r.PublishContext
	d.mu.Unlock()
	from := r.StagingTargetPath
	if from == "" {
		from = d.Volume(r.VolumeId)
	}
	if err := d.bind(from, r.TargetPath); err != nil {
		return nil, err
	}
	if r.Readonly {
		if err := unix.Mount("", r.TargetPath, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	return &spec.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume unmounts it and removes the mount point.
func (d *Driver) NodeUnpublishVolume(_ context.Context, r *spec.NodeUnpublishVolumeRequest) (*spec.NodeUnpublishVolumeResponse, error) {
	if err := unmount(r.TargetPath); err != nil {
		return nil, err
	}
	if err := os.Remove(r.TargetPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.NodeUnpublishVolumeResponse{}, nil
}

// NodeExpandVolume says that the volume has the size that is asked for.
func (d *Driver) NodeExpandVolume(_ context.Context, r *spec.NodeExpandVolumeRequest) (*spec.NodeExpandVolumeResponse, error) {
	return &spec.NodeExpandVolumeResponse{CapacityBytes: r.CapacityRange.GetRequiredBytes()}, nil
}

// NodeGetVolumeStats looks at the file system of the volume.
func (d *Driver) NodeGetVolumeStats(_ context.Context, r *spec.NodeGetVolumeStatsRequest) (*spec.NodeGetVolumeStatsResponse, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(r.VolumePath, &st); err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	size := uint64(st.Bsize)
	return &spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{
		{Unit: spec.VolumeUsage_BYTES, Total: int64(st.Blocks * size), Available: int64(st.Bavail * size), Used: int64((st.Blocks - st.Bfree) * size)},
		{Unit: spec.VolumeUsage_INODES, Total: int64(st.Files), Available: int64(st.Ffree), Used: int64(st.Files - st.Ffree)},
	}}, nil
}

// bind mounts a folder on another once; it makes both.
func (d *Driver) bind(from, to string) error {
	for _, dir := range []string{from, to} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
	}
	a, errA := os.Stat(from)
	b, errB := os.Stat(to)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return nil // bound already
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// unmount is no error for what is not mounted.
func unmount(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}
