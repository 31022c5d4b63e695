package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/volume/mounthelper"
)

// Source is where content comes from. The error for an object that is not
// there matches interface{ NotFound() bool }.
type Source interface {
	// ConfigMap reads a config map.
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	// Secret reads a secret.
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Token gets a token for a service account.
	Token(ctx context.Context, namespace, serviceAccount string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Config sets up a Manager. Root and Source are required.
type Config struct {
	Root   string       // absolute path; the pods' folders are made in Root/pods
	Source Source       // content of volumes
	Logger *slog.Logger // nil discards
	// OnDisk is called once if this program may not mount, and what is secret lies in
	// ordinary folders therefore; that is logged in any case. nil ignores it.
	OnDisk func(error)
	// Claims reads claims and the volumes behind them; with nil a pod with a claim waits.
	Claims ClaimReader
	// Labels are those that the agent gives its Node, by which a persistent volume says
	// on which nodes it is; those of OwnNode count over them.
	Labels map[string]string
	// OwnNode reads the Node as the cloud has it; nil where there is none.
	OwnNode func(context.Context) (*corev1.Node, error)
	// CSI finds the CSI drivers of the node; nil for a node without any.
	CSI CSI
	// CSIDrivers reads what drivers say of themselves; nil means that none says
	// anything, and that each wants its volumes attached: see Attachments.
	CSIDrivers CSIDriverReader
	// TrustBundles reads ClusterTrustBundles; with nil a pod with one waits.
	TrustBundles TrustBundleReader
	// PodCertificates gets certificates for pods; with nil a pod with one waits.
	PodCertificates PodCertificates
	// Node is this node's name, by which the attachments of its volumes are named.
	Node string
	// Attachments reads whether the cloud has attached a volume to this node; with nil a
	// pod with a volume that must be attached waits.
	Attachments AttachmentReader
	// InUseChanged is called when Manager.InUse gives other volumes than before; nil
	// ignores it.
	InUseChanged func()
	// Expanded is called with a claim whose volume has grown, and its new capacity in
	// the claim's status; nil ignores it.
	Expanded func(ctx context.Context, claim *corev1.PersistentVolumeClaim) error
	// Worked is called after work on a volume of the kind plugin, such as kubernetes.io/empty-dir:
	// operation is volume_mount or volume_unmount. nil ignores it.
	Worked func(plugin, operation string, err error, took time.Duration)
	// Event records a Warning about a pod's volumes that keeps it from nothing; nil
	// ignores it.
	Event func(pod *corev1.Pod, reason, message string)
}

// Manager prepares and removes the volumes of pods.
type Manager struct {
	cfg    Config
	mount  func(dir, fstype, options string) error
	helper mounter
	// swappable says that the kernel does not know noswap.
	swappable atomic.Bool
	onDisk    sync.Once

	// claiming is held while a volume is looked for among those of other pods, and
	// recorded as a pod's.
	claiming sync.Mutex
	locks    keyedLocks // of volumes of CSI drivers
	usages   usages
	inUse    inUse
}

// Error says which volume of a pod could not be prepared, and why.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	var step *opFailed
	if errors.As(e.Err, &step) && step.op == opProcess {
		return fmt.Sprintf("Unable to attach or mount volumes: unmounted volumes=[%[1]s], unattached volumes=[], failed to process volumes=[%[1]s]: %[2]v", e.Volume, step.err)
	}
	if step != nil {
		return fmt.Sprintf("%s for volume %q : %v", step.op, e.Volume, step.err)
	}
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

// Reason is the reason of a kubelet's event about it; "" for a wait that has only just
// begun and is worth no event yet.
func (e *Error) Reason() string {
	var wait *notAttached
	switch {
	case !errors.As(e.Err, &wait):
		return "FailedMount"
	case wait.early:
		return ""
	}
	return "FailedAttachVolume"
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes a Manager.
func New(cfg Config) (*Manager, error) {
	if !filepath.IsAbs(cfg.Root) {
		return nil, fmt.Errorf("volume: Config.Root %q is not an absolute path", cfg.Root)
	}
	if cfg.Source == nil {
		return nil, errors.New("volume: Config.Source is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnDisk == nil {
		cfg.OnDisk = func(error) {}
	}
	if cfg.Expanded == nil {
		cfg.Expanded = func(context.Context, *corev1.PersistentVolumeClaim) error { return nil }
	}
	if cfg.InUseChanged == nil {
		cfg.InUseChanged = func() {}
	}
	if cfg.Worked == nil {
		cfg.Worked = func(string, string, error, time.Duration) {}
	}
	if cfg.Event == nil {
		cfg.Event = func(*corev1.Pod, string, string) {}
	}
	return &Manager{cfg: cfg, mount: mountFS, helper: mounthelper.New(mounthelper.Config{})}, nil
}

// PodDir is the folder of a pod: all that is kept for it is there.
func (m *Manager) PodDir(uid string) string { return filepath.Join(m.cfg.Root, "pods", uid) }

// Pods lists the uids of pods that have a folder.
func (m *Manager) Pods() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(m.cfg.Root, "pods"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("volume: %w", err)
	}
	var uids []string
	for _, e := range entries {
		if e.IsDir() {
			uids = append(uids, e.Name())
		}
	}
	return uids, nil
}

// Prepared is what SetUp has to say of a pod's service account tokens.
type Prepared struct {
	Refresh time.Time // when to call again so that they stay fresh; zero for never
	Expired time.Time // when the first of those in use expired; zero if none has
}

// SetUp prepares every volume of a pod that is about to start. It goes through
// all of them and returns the errors, each an *Error, joined.
func (m *Manager) SetUp(ctx context.Context, pod *corev1.Pod, allocatable corev1.ResourceList) (Prepared, error) {
	return (&setup{m: m, pod: pod, allocatable: allocatable, checkHost: true}).run(ctx)
}

// Refresh brings the volumes of a pod that runs up to date. It is SetUp but for
// hostPath volumes: their type was checked before the pod started, and a socket
// that is away for a while is no fault of the pod's volumes.
func (m *Manager) Refresh(ctx context.Context, pod *corev1.Pod, allocatable corev1.ResourceList) (Prepared, error) {
	return (&setup{m: m, pod: pod, allocatable: allocatable}).run(ctx)
}

// setup is one pass over a pod's volumes.
type setup struct {
	m           *Manager
	pod         *corev1.Pod
	allocatable corev1.ResourceList
	checkHost   bool // whether hostPath volumes are checked, and made where their type asks for it
	prepared    Prepared
}

func (s *setup) run(ctx context.Context) (Prepared, error) {
	m, pod := s.m, s.pod
	if err := validUID(string(pod.UID)); err != nil {
		return Prepared{}, err
	}
	if err := os.MkdirAll(filepath.Join(m.PodDir(string(pod.UID)), "volumes"), 0o750); err != nil {
		return Prepared{}, fmt.Errorf("volume: %w", err)
	}
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		began := time.Now()
		err := s.volume(ctx, v)
		m.cfg.Worked(m.Plugin(pod, v), "volume_mount", err, time.Since(began))
		if err != nil {
			var named *Error // by its persistent volume
			if !errors.As(err, &named) {
				named = &Error{Volume: v.Name, Err: err}
			}
			errs = append(errs, named)
		}
	}
	return s.prepared, errors.Join(errs...)
}

// validUID keeps a pod's uid from leading out of Root: the API server makes
// them, but a folder is removed by that name.
func validUID(uid string) error {
	if uid == "" || uid == "." || !filepath.IsLocal(uid) || filepath.Base(uid) != uid {
		return fmt.Errorf("volume: pod uid %q is no file name", uid)
	}
	return nil
}

// Path is the host path of a pod's volume, to be bound into containers.
func (m *Manager) Path(pod *corev1.Pod, name string) (string, error) {
	info, err := m.Lookup(pod, name)
	return info.Path, err
}

func (m *Manager) dir(pod *corev1.Pod, v *corev1.Volume) string {
	return filepath.Join(m.PodDir(string(pod.UID)), "volumes", "kubernetes.io~"+kind(v), v.Name)
}

func kind(v *corev1.Volume) string {
	switch {
	case v.EmptyDir != nil:
		return "empty-dir"
	case v.HostPath != nil:
		return "host-path"
	case v.ConfigMap != nil:
		return "configmap"
	case v.Secret != nil:
		return "secret"
	case v.DownwardAPI != nil:
		return "downward-api"
	case v.Projected != nil:
		return "projected"
	case v.NFS != nil:
		return "nfs"
	case v.CSI != nil:
		return "csi"
	case v.PersistentVolumeClaim != nil, v.Ephemeral != nil:
		return "persistent"
	}
	return "other"
}

func (s *setup) volume(ctx context.Context, v *corev1.Volume) error {
	dir := s.m.dir(s.pod, v)
	switch {
	case v.EmptyDir != nil:
		return s.emptyDir(v.EmptyDir, dir)
	case v.HostPath != nil:
		if !s.checkHost {
			return nil
		}
		return hostPath(v.HostPath)
	case v.Image != nil:
		return nil // the runtime mounts it, when a container is made
	}
	if done, err := s.persistent(ctx, v); done {
		return err
	}
	files, err := s.payload(ctx, v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if v.ConfigMap == nil {
		// What is secret or personal to the pod is not written to disk.
		if err := s.m.secretMemory(dir); err != nil {
			return fmt.Errorf("tmpfs: %w", err)
		}
	}
	if err := openToAll(dir); err != nil {
		return err
	}
	return writeAtomic(dir, files, s.group())
}

// openToAll gives a folder its mode, against the umask. One that has it is left
// alone, so that a pod whose volumes are up to date needs no writable disk.
func openToAll(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm() == 0o777 {
		return nil
	}
	return os.Chmod(dir, 0o777)
}

func (s *setup) group() *int64 {
	if sc := s.pod.Spec.SecurityContext; sc != nil {
		return sc.FSGroup
	}
	return nil
}
