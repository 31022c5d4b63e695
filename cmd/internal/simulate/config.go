package simulate

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/install"
)

// Label is on each Node, Pod and Device of a simulation; its value is Config.Name.
const Label = "edgekit.io/simulation"

// How nodes get their identity.
const (
	// IdentityCA signs certificates here, with the cluster's authority, and claims the names at the
	// API server. It needs the right to read the authority's Secret.
	IdentityCA = "ca"
	// IdentityToken makes a join token for each node, with which it joins at cloudcore. cloudcore
	// bounds how many join in a second.
	IdentityToken = "token"
)

// Bounds of a Config.
const (
	MaxNodes = 100_000
	MaxPods  = 500
	MaxTwins = 200
)

// Config sets up a Fleet. REST, Servers and Nodes are required.
type Config struct {
	REST    *rest.Config // of the API server, as one who may create pods and devices; not changed
	Servers []string     // host:port of cloudcores, or of the load balancer in front of them
	Name    string       // of the simulation, which begins the names of nodes; "" means "sim"
	// Namespace is where pods and devices are created; it is created if it is missing. "" means
	// "edgekit-simulation".
	Namespace string
	// System is the namespace of edgekit's own objects; "" means install.Namespace.
	System string

	Nodes int // how many nodes there are, up to MaxNodes
	Pods  int // of each node, up to MaxPods
	Twins int // properties of the one device that each node has, up to MaxTwins; 0 means no device

	Transport string        // "ws" or "quic"; "" means "ws"
	Identity  string        // IdentityCA or IdentityToken; "" means IdentityCA
	Ramp      time.Duration // the nodes begin to connect spread over this time; 0 means all at once
	PodDelay  time.Duration // from a pod's arrival until it is Running and Ready; 0 means 1s
	// ReportInterval is the time between two reports of a device; 0 means 30s. NodeInterval is
	// that between two reports of a node's status; 0 means only on a change, as edgecore does.
	ReportInterval time.Duration
	NodeInterval   time.Duration

	Logger *slog.Logger // nil discards
}

// withDefaults checks a Config and fills it in.
func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct{ value *string }{{&c.Name}, {&c.Namespace}, {&c.System}, {&c.Transport}, {&c.Identity}} {
		if *d.value == "" {
			*d.value = map[*string]string{
				&c.Name: "sim", &c.Namespace: "edgekit-simulation", &c.System: install.Namespace, &c.Transport: "ws", &c.Identity: IdentityCA,
			}[d.value]
		}
	}
	if c.PodDelay == 0 {
		c.PodDelay = time.Second
	}
	if c.ReportInterval == 0 {
		c.ReportInterval = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.REST == nil:
		return c, errors.New("simulate: Config.REST is required")
	case len(c.Servers) == 0:
		return c, errors.New("simulate: Config.Servers is required: give the host:port of cloudcore")
	case c.Nodes < 1 || c.Nodes > MaxNodes:
		return c, fmt.Errorf("simulate: Config.Nodes is %d: want 1 to %d", c.Nodes, MaxNodes)
	case c.Pods < 0 || c.Pods > MaxPods:
		return c, fmt.Errorf("simulate: Config.Pods is %d: want 0 to %d", c.Pods, MaxPods)
	case c.Twins < 0 || c.Twins > MaxTwins:
		return c, fmt.Errorf("simulate: Config.Twins is %d: want 0 to %d", c.Twins, MaxTwins)
	case c.Transport != "ws" && c.Transport != "quic":
		return c, fmt.Errorf("simulate: Config.Transport is %q: want ws or quic", c.Transport)
	case c.Identity != IdentityCA && c.Identity != IdentityToken:
		return c, fmt.Errorf("simulate: Config.Identity is %q: want %s or %s", c.Identity, IdentityCA, IdentityToken)
	case c.Ramp < 0 || c.PodDelay < 0 || c.NodeInterval < 0:
		return c, errors.New("simulate: Config.Ramp, PodDelay and NodeInterval must not be negative")
	case c.ReportInterval < 100*time.Millisecond || c.NodeInterval > 0 && c.NodeInterval < time.Second:
		return c, errors.New("simulate: Config.ReportInterval must be 100ms or more, NodeInterval 1s or more")
	}
	for _, s := range c.Servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return c, fmt.Errorf("simulate: Config.Servers: %q: want host:port: %w", s, err)
		}
	}
	c.Servers = slices.Clone(c.Servers)
	if why := validation.IsDNS1123Label(c.Name); len(why) > 0 || len(c.Name) > 40 {
		return c, fmt.Errorf("simulate: Config.Name %q: want at most 40 letters, digits and '-'", c.Name)
	}
	if why := validation.IsDNS1123Label(c.Namespace); len(why) > 0 {
		return c, fmt.Errorf("simulate: Config.Namespace %q: %s", c.Namespace, why[0])
	}
	return c, nil
}

// nodeName is the name of the i-th node.
func (c *Config) nodeName(i int) string { return fmt.Sprintf("%s-%06d", c.Name, i) }

// isNode reports whether a name is one that nodeName makes. Others may begin like it: those of another
// simulation, and of real nodes.
func (c *Config) isNode(name string) bool {
	digits, ok := strings.CutPrefix(name, c.Name+"-")
	i, err := strconv.Atoi(digits)
	return ok && err == nil && i >= 0 && i < MaxNodes && name == c.nodeName(i)
}

// podName is the name of a node's i-th pod.
func podName(node string, i int) string { return fmt.Sprintf("%s-p%d", node, i) }
