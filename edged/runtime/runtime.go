package runtime

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// Runtime is the container runtime of the node. edged/cri speaks to a real
// one; edged/runtimetest has a fake. All methods may be called by several
// goroutines at once.
//
// What a runtime keeps about its sandboxes and containers (labels,
// annotations, times, exit codes) is the Agent's memory: it survives a restart
// of the program, and an Agent that comes up reads it back.
type Runtime interface {
	Sandboxes
	Containers
	Images
	Machine
}

// Sandboxes is the part of a Runtime that owns pod sandboxes.
type Sandboxes interface {
	// RunSandbox makes a sandbox and starts it, its network included.
	RunSandbox(ctx context.Context, cfg *SandboxConfig) (id string, err error)
	// StopSandbox stops all containers of a sandbox at once and releases its
	// network. A sandbox that is stopped or not there is no error.
	StopSandbox(ctx context.Context, id string) error
	// RemoveSandbox removes a sandbox with its containers, stopping what
	// still runs. A sandbox that is not there is no error.
	RemoveSandbox(ctx context.Context, id string) error
	// SandboxStatus reads one sandbox, its addresses included. The error for
	// one that is not there matches interface{ NotFound() bool }.
	SandboxStatus(ctx context.Context, id string) (Sandbox, error)
	// ListSandboxes lists the sandboxes of one pod, or all that carry a pod's
	// uid when podUID is empty. IPs may be left out.
	ListSandboxes(ctx context.Context, podUID string) ([]Sandbox, error)
}

// Containers is the part of a Runtime that owns containers.
type Containers interface {
	// CreateContainer makes a container in a running sandbox; sandbox is the
	// configuration that the sandbox was made with.
	CreateContainer(ctx context.Context, sandboxID string, cfg *ContainerConfig, sandbox *SandboxConfig) (id string, err error)
	// StartContainer starts a created container.
	StartContainer(ctx context.Context, id string) error
	// StopContainer sends the stop signal, waits for up to grace and then
	// kills. It returns when the container has stopped. One that is stopped
	// or not there is no error.
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	// RemoveContainer removes a stopped container. One that is not there is
	// no error.
	RemoveContainer(ctx context.Context, id string) error
	// ListContainers lists the containers of one pod, or all that carry a
	// pod's uid when podUID is empty. Only what does not need the container's
	// status is filled in: names, ids, State, Created, labels, annotations.
	ListContainers(ctx context.Context, podUID string) ([]Container, error)
	// ContainerStatus reads one container whole. The error for one that is
	// not there matches interface{ NotFound() bool }.
	ContainerStatus(ctx context.Context, id string) (Container, error)
	// ExecSync runs a command in a running container and waits for it. A
	// command that fails is no error: ExecResult has its exit code. The error
	// for a command that does not end in time matches context.DeadlineExceeded;
	// any other error says nothing of the container. A timeout of zero means none.
	ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (ExecResult, error)
}

// Images is the part of a Runtime that owns images.
type Images interface {
	// ListImages lists the images on the node.
	ListImages(ctx context.Context) ([]Image, error)
	// ImageStatus finds an image by reference or id; false if it is not on
	// the node.
	ImageStatus(ctx context.Context, ref string) (Image, bool, error)
	// PullImage pulls an image and returns its id. A nil auth pulls without
	// credentials.
	PullImage(ctx context.Context, ref string, auth *ImageAuth, sandbox *SandboxConfig) (id string, err error)
	// RemoveImage removes an image. One that is not there is no error.
	RemoveImage(ctx context.Context, id string) error
}

// Machine is the part of a Runtime that describes the runtime itself.
type Machine interface {
	// Version names the runtime and its version, for example "containerd" and
	// "2.4.2".
	Version(ctx context.Context) (Version, error)
	// Health reports whether the runtime and its network are ready. An error
	// means that the runtime did not answer.
	Health(ctx context.Context) (Health, error)
	// CgroupDriver is "systemd" or "cgroupfs". "" is a runtime without cgroups,
	// as one of tests: none are made for it.
	CgroupDriver(ctx context.Context) (string, error)
	// Events calls fn for each change of a container or sandbox until ctx or
	// the stream ends. A runtime without events returns ErrNoEvents. fn must
	// not block.
	Events(ctx context.Context, fn func(Event)) error
}

// Streams is what a Runtime may have besides, to let people into running
// containers: each method gives a URL on which the runtime serves one session,
// over SPDY and WebSocket, once. edged/server hands such sessions on.
type Streams interface {
	// ExecURL prepares a command in a running container.
	ExecURL(ctx context.Context, id string, cmd []string, s Streaming) (url string, err error)
	// AttachURL prepares to attach to a running container's first process.
	AttachURL(ctx context.Context, id string, s Streaming) (url string, err error)
	// PortForwardURL prepares connections to ports of a sandbox. ports may be
	// left out with SPDY, where each connection names its own.
	PortForwardURL(ctx context.Context, sandboxID string, ports []int32) (url string, err error)
}

// Streaming says which streams a session has. With TTY, there is no Stderr.
type Streaming struct{ Stdin, Stdout, Stderr, TTY bool }

// SandboxConfig says how to make a pod's sandbox.
type SandboxConfig struct {
	Name, Namespace, UID string
	Attempt              uint32            // counts the pod's sandboxes from zero
	Hostname             string            // empty with the host's network
	LogDirectory         string            // folder of the pod's logs
	DNS                  *DNSConfig        // nil leaves the host's resolv.conf
	Ports                []PortMapping     // host ports to forward
	Labels               map[string]string // found again in Sandbox
	Annotations          map[string]string // found again in Sandbox
	Handler              string            // runtime class handler, one of Health.Handlers; empty is the default one
	CgroupParent         string            // in the form that the cgroup driver wants
	Sysctls              map[string]string
	Resources            *Resources // sum over the pod's containers; nil if unknown
	Overhead             *Resources // what the sandbox takes besides its containers, by its runtime class; nil if nothing
	Security             Security   // of the sandbox itself; also has the namespaces
}

// DNSConfig is the content of a pod's resolv.conf.
type DNSConfig struct{ Servers, Searches, Options []string }

// PortMapping forwards a host port to a port of the pod.
type PortMapping struct {
	Protocol      string // "TCP", "UDP" or "SCTP"
	ContainerPort int32
	HostPort      int32
	HostIP        string // empty means all addresses
}

// Namespaces says which of the host's namespaces a pod uses.
type Namespaces struct {
	HostNetwork, HostPID, HostIPC bool
	SharePID                      bool   // one process namespace for all containers
	TargetPID                     string // id of the container whose process namespace is joined; "" for none
	// User is the pod's user namespace; nil means the host's. A container in one gets all
	// its mounts with the same mapping, so that files keep the owners that they have on
	// the host.
	User *UserNamespace
}

// UserNamespace maps the user and group ids 0 to Length-1 of a pod to those from First
// on of the host.
type UserNamespace struct{ First, Length uint32 }

// Security is the security context of a sandbox or container.
type Security struct {
	Namespaces               Namespaces
	Privileged               bool
	ReadOnlyRoot             bool
	NoNewPrivileges          bool
	RunAsUser, RunAsGroup    *int64
	RunAsUsername            string // used when RunAsUser is nil
	SupplementalGroups       []int64
	SupplementalGroupsStrict bool // ignore groups that the image defines
	AddCapabilities          []string
	DropCapabilities         []string
	MaskedPaths              []string
	ReadOnlyPaths            []string
	Seccomp                  *Profile // nil leaves the choice to the runtime
	AppArmor                 *Profile // nil leaves the choice to the runtime
	SELinux                  *SELinux // nil means none
}

// Profile is a seccomp or AppArmor profile: exactly one field is set.
type Profile struct {
	RuntimeDefault, Unconfined bool
	Localhost                  string // path of a seccomp file, or name of a loaded AppArmor profile
}

// SELinux is an SELinux label.
type SELinux struct{ User, Role, Type, Level string }

// Resources are Linux resource limits; zero means not set.
type Resources struct {
	CPUPeriod, CPUQuota int64 // microseconds
	CPUShares           int64
	Memory              int64             // bytes
	MemorySwap          int64             // bytes, memory and swap together
	OOMScoreAdj         int64             // -1000 to 1000
	HugePages           map[string]uint64 // page size ("2MB") to bytes
	Unified             map[string]string // cgroup v2 files
	CPUSetCPUs          string            // CPUs that it may run on, such as "0-3,8"; "" is no bound
	CPUSetMems          string            // NUMA nodes whose memory it may use, such as "0-1"; "" is no bound
}

// ContainerConfig says how to make a container.
type ContainerConfig struct {
	Name             string
	Attempt          uint32 // the restart count
	Image            string // id of the image, as it is on the node
	ImageName        string // the reference that the user wrote
	Command, Args    []string
	WorkingDir       string
	Env              []EnvVar
	Mounts           []Mount
	Devices          []Device
	CDIDevices       []string          // names of devices of the Container Device Interface, as "vendor.example/class=name"
	Labels           map[string]string // found again in Container
	Annotations      map[string]string // found again in Container
	LogPath          string            // relative to SandboxConfig.LogDirectory
	Stdin, StdinOnce bool
	TTY              bool
	StopSignal       string // "SIGTERM"; empty is the image's
	Resources        Resources
	Security         Security
}

// EnvVar is a variable of a container's environment.
type EnvVar struct{ Name, Value string }

// Mount binds a host path into a container.
type Mount struct {
	ContainerPath, HostPath string
	ReadOnly                bool
	RecursiveReadOnly       bool
	Relabel                 bool   // for SELinux
	Propagation             string // "", "HostToContainer" or "Bidirectional"
	// Image is the id of an image that is mounted instead of HostPath, which is "" then,
	// and ImageSubPath the part of it; "" is the whole.
	Image, ImageSubPath string
}

// Device gives a host device to a container.
type Device struct{ ContainerPath, HostPath, Permissions string }

// Sandbox is a pod's sandbox as the runtime reports it.
type Sandbox struct {
	ID                      string
	Name, Namespace, PodUID string
	Attempt                 uint32
	Ready                   bool // it runs
	Created                 time.Time
	IPs                     []string // primary address first; empty with the host's network
	HostNetwork             bool     // filled in by SandboxStatus only
	Handler                 string   // runtime class handler that it was made with; empty is the default one
	Labels, Annotations     map[string]string
}

// ContainerState is what a container does.
type ContainerState int

// The states of a container. Unknown is the zero value.
const (
	ContainerUnknown ContainerState = iota
	ContainerCreated
	ContainerRunning
	ContainerExited
)

func (s ContainerState) String() string {
	switch s {
	case ContainerCreated:
		return "created"
	case ContainerRunning:
		return "running"
	case ContainerExited:
		return "exited"
	}
	return "unknown"
}

// Container is a container as the runtime reports it.
type Container struct {
	ID, SandboxID       string
	PodUID, Name        string // from the labels
	Attempt             uint32
	State               ContainerState
	Created             time.Time
	Started, Finished   time.Time // zero when it has not
	ExitCode            int32
	Reason, Message     string // "OOMKilled", "Error", ...
	Image               string // reference the user wrote
	ImageID             string // as pods report it: repository@digest where known
	Labels, Annotations map[string]string
	Resources           *Resources // nil if the runtime does not say
	User                *User      // nil if the runtime does not say
	RecursiveReadOnly   []string   // paths that are mounted read-only with all that lies below
}

// User is what a container's first process runs as.
type User struct {
	UID, GID           int64
	SupplementalGroups []int64
}

// ExecResult is the outcome of ExecSync.
type ExecResult struct {
	Stdout, Stderr []byte
	ExitCode       int32
}

// Image is an image on the node.
type Image struct {
	ID                string
	Tags, Digests     []string
	Size              uint64 // bytes
	UID               *int64 // of the image's user, if it is a number
	Username          string // of the image's user, if it is a name
	Pinned            bool   // must never be collected
	SpecifiedImageRef string // what it was asked for by, where the runtime knows
}

// ImageAuth are credentials for a registry.
type ImageAuth struct{ Username, Password, Auth, Server, IdentityToken, RegistryToken string }

// Version names a runtime.
type Version struct{ Name, Version string }

// Health says whether a runtime can run pods.
type Health struct {
	RuntimeReady, NetworkReady     bool
	RuntimeMessage, NetworkMessage string // why not
	Features                       Features
	// Handlers are the handlers that runtime classes may name, the default one, "",
	// included. None means that the runtime does not say.
	Handlers []Handler
}

// Handler is one of a runtime's ways to run sandboxes, and what it can do.
type Handler struct {
	Name                    string // "" is the default one
	RecursiveReadOnlyMounts bool   // it can mount read-only with all that lies below
	UserNamespaces          bool   // it can give a pod a user namespace of its own
}

// HandlerNames lists the handlers that a RuntimeClass can name, for people.
func HandlerNames(all []Handler) string {
	var names []string
	for _, h := range all {
		if h.Name != "" {
			names = append(names, h.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Features says what a runtime can do that not every runtime can.
type Features struct {
	SupplementalGroupsPolicy bool // it can ignore the groups that an image defines
	RecursiveReadOnlyMounts  bool // its default handler can mount read-only with all that lies below
	ImageVolumes             bool // it can mount an image into a container: see Mount.Image
}

// Event says that something of a pod changed. PodUID is empty when the
// runtime did not say whose it is.
type Event struct{ PodUID string }

// ErrNoEvents is returned by Runtime.Events when the runtime has none.
var ErrNoEvents = errors.New("edged/runtime: the runtime sends no events")
