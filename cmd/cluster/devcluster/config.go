package devcluster

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
	"github.com/edgekit/edgekit/cmd/cluster/nodenet"
	"github.com/edgekit/edgekit/cmd/cluster/process"
)

// Config sets up a Cluster. Every field may be left empty.
type Config struct {
	// Dir holds the cluster's state. Empty means edgekit/cluster in
	// $XDG_STATE_HOME, or in the user's cache folder without that.
	Dir string
	// Cache holds the built programs. Empty means edgekit in the user's cache
	// folder ($XDG_CACHE_HOME or ~/.cache).
	Cache string
	// Source is the folder of the module cmd/cluster. Empty means to
	// look for it upwards from the working directory.
	Source string
	// Kubeconfig names a cluster to use instead of a control plane of our own.
	// Empty, and the kubeconfig in Dir itself, mean our own.
	Kubeconfig string
	// RuntimeOnly is a cluster without a control plane: only the container runtime in
	// the node's network.
	RuntimeOnly bool
	// Out gets a line, for people, about each thing that happens. Nil discards.
	Out io.Writer
}

// Cluster is one development cluster.
type Cluster struct {
	cfg   Config
	id    string // eight hex digits, see identify: names what cannot live in Dir
	table *process.Table
	state state
}

// New checks the configuration. It starts and changes nothing.
func New(cfg Config) (*Cluster, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	table, err := process.NewTable(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("devcluster: %w", err)
	}
	return &Cluster{cfg: cfg, id: identify(cfg.Dir), table: table}, nil
}

// identify makes a cluster's id from its folder. The root directory's inode is
// in it, because programs in a container or chroot may have the same path for
// another folder, and share the host's network and cgroups.
func identify(dir string) string {
	var root unix.Stat_t
	_ = unix.Stat("/", &root) // cannot fail; zeros would do
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%d:%s", root.Dev, root.Ino, dir))
	return hex.EncodeToString(sum[:4])
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Out == nil {
		cfg.Out = io.Discard
	}
	if cfg.Cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return cfg, fmt.Errorf("devcluster: Config.Cache is empty and there is no default: %w", err)
		}
		cfg.Cache = filepath.Join(cache, "edgekit")
	}
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(cfg.Cache, "cluster")
		if home := os.Getenv("XDG_STATE_HOME"); home != "" {
			cfg.Dir = filepath.Join(home, "edgekit", "cluster")
		}
	}
	var err error
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return cfg, fmt.Errorf("devcluster: Config.Dir: %w", err)
	}
	if cfg.Cache, err = filepath.Abs(cfg.Cache); err != nil {
		return cfg, fmt.Errorf("devcluster: Config.Cache: %w", err)
	}
	if cfg.RuntimeOnly && cfg.Kubeconfig != "" {
		return cfg, errors.New("devcluster: Config.RuntimeOnly and Config.Kubeconfig exclude each other: leave one out")
	}
	if cfg.Kubeconfig == filepath.Join(cfg.Dir, kubeconfigName) {
		cfg.Kubeconfig = ""
	}
	if cfg.Kubeconfig != "" {
		if cfg.Kubeconfig, err = filepath.Abs(cfg.Kubeconfig); err != nil {
			return cfg, fmt.Errorf("devcluster: Config.Kubeconfig: %w", err)
		}
		if _, err := os.Stat(cfg.Kubeconfig); err != nil {
			return cfg, fmt.Errorf("devcluster: Config.Kubeconfig (KUBECONFIG): %w", err)
		}
	}
	return cfg, nil
}

// source finds the module cmd/cluster.
func (c *Cluster) source() (string, error) {
	if c.cfg.Source != "" {
		return c.cfg.Source, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("devcluster: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		for _, below := range []string{"", "cluster", "cmd/cluster"} {
			candidate := filepath.Join(dir, below)
			if _, err := gobuild.Version(filepath.Join(candidate, "kube"), kubernetesModule); err == nil {
				return candidate, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("devcluster: cmd/cluster was not found above the working directory: run from the edgekit repository")
		}
	}
}

// Dir is the folder of the cluster's state.
func (c *Cluster) Dir() string { return c.cfg.Dir }

// Kubeconfig is the file that reaches the cluster as an administrator.
func (c *Cluster) Kubeconfig() string {
	if c.cfg.Kubeconfig != "" {
		return c.cfg.Kubeconfig
	}
	return c.path(kubeconfigName)
}

// Kubectl is the built kubectl. It exists after Up.
func (c *Cluster) Kubectl() string { return c.Built("kubectl") }

// RuntimeEndpoint is containerd's CRI socket as a URL.
func (c *Cluster) RuntimeEndpoint() string { return "unix://" + c.containerdSocket() }

// Network is the edge node's network. It is known after Up.
func (c *Cluster) Network() nodenet.Network {
	return nodenet.Network{Plan: c.state.Network, File: c.runPath("netns"), Cable: "ek" + c.id}
}

// External reports whether the control plane is somebody else's, or there is none.
func (c *Cluster) External() bool { return c.cfg.Kubeconfig != "" || c.cfg.RuntimeOnly }

const kubeconfigName = "kubeconfig"

func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.cfg.Dir}, elem...)...)
}

// runPath is a path in the folder that a reboot empties. It is short, since
// the names of sockets are limited to 107 bytes.
func (c *Cluster) runPath(elem ...string) string {
	return filepath.Join(append([]string{"/run/edgekit-" + c.id}, elem...)...)
}

func (c *Cluster) containerdSocket() string { return c.runPath("containerd.sock") }

func (c *Cluster) printf(format string, args ...any) { fmt.Fprintf(c.cfg.Out, format+"\n", args...) }
