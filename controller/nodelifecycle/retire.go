package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// DevicePolicy says what becomes of the Devices of a node that is retired.
type DevicePolicy string

// The policies.
const (
	RefuseDevices DevicePolicy = "refuse" // a node with Devices is not retired
	UnbindDevices DevicePolicy = "unbind" // they are bound to no node
	KeepDevices   DevicePolicy = "keep"   // they stay bound to its name
)

// RetireConfig says which node Retire retires. Client, Node and RevokeIdentity are required.
type RetireConfig struct {
	Client  kubernetes.Interface
	Dynamic dynamic.Interface // for Devices; nil leaves them alone
	Node    string
	// RevokeIdentity makes the node's identity worthless, upon which its session ends.
	RevokeIdentity func(ctx context.Context) error
	Timeout        time.Duration // for Drain; 0 means DefaultDrainTimeout
	// Force ends pods that no controller replaces, and those that were not drained in time.
	Force   bool
	Devices DevicePolicy // empty means RefuseDevices
}

// Retired is what Retire did.
type Retired struct {
	Evicted []string // namespace/name of the pods that were evicted
	Devices []string // namespace/name of the Devices that were unbound
	Volumes []Volume // that are on the node's own disk
	Removed
}

// Volume is a PersistentVolume that can be used on one node only.
type Volume struct {
	Name  string
	Claim string // namespace/name of its claim; empty if it has none
}

// String names the volume and its claim.
func (v Volume) String() string {
	if v.Claim == "" {
		return v.Name
	}
	return v.Name + " (claim " + v.Claim + ")"
}

// Retire takes a node out of service, in this order: it drains the node, revokes its
// identity, unbinds its Devices, ends what is left of its pods in the API server, and deletes
// the Node. Nothing is changed if Devices or pods without a controller are in the way. It may
// be repeated, also when the Node is already deleted.
func Retire(ctx context.Context, cfg RetireConfig) (Retired, error) {
	var done Retired
	switch cfg.Devices {
	case "":
		cfg.Devices = RefuseDevices
	case RefuseDevices, UnbindDevices, KeepDevices:
	default:
		return done, fmt.Errorf("nodelifecycle: RetireConfig.Devices is %q: want %s, %s or %s", cfg.Devices, RefuseDevices, UnbindDevices, KeepDevices)
	}
	if cfg.Client == nil || cfg.Node == "" || cfg.RevokeIdentity == nil {
		return done, errors.New("nodelifecycle: RetireConfig.Client, Node and RevokeIdentity are required")
	}
	node, err := edgeNode(ctx, cfg.Client, cfg.Node)
	if err != nil && !errors.Is(err, ErrNoNode) {
		return done, err
	}
	devices, err := devicesOf(ctx, cfg.Dynamic, cfg.Node)
	if err != nil {
		return done, err
	}
	if cfg.Devices == RefuseDevices && len(devices) > 0 {
		return done, &DevicesError{Node: cfg.Node, Devices: deviceNames(devices)}
	}
	if node != nil {
		if done.Volumes, err = localVolumes(ctx, cfg.Client, node); err != nil {
			return done, err
		}
		done.Evicted, err = Drain(ctx, DrainConfig{Client: cfg.Client, Node: cfg.Node, Timeout: cfg.Timeout, Force: cfg.Force})
		if late := (*TimeoutError)(nil); err != nil && (!cfg.Force || !errors.As(err, &late)) {
			return done, err
		}
	}
	// Nobody serves the devices from when the identity is revoked; before, the node may.
	done.Removed, err = Remove(ctx, RemoveConfig{Client: cfg.Client, Node: cfg.Node, Force: true, RevokeIdentity: func(ctx context.Context) error {
		err := cfg.RevokeIdentity(ctx)
		if err == nil && cfg.Devices == UnbindDevices {
			done.Devices, err = bindDevices(ctx, cfg.Dynamic, cfg.Node, "")
		}
		return err
	}})
	return done, err
}

// edgeNode reads a Node that must be an edge node.
func edgeNode(ctx context.Context, client kubernetes.Interface, name string) (*corev1.Node, error) {
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("%w: %s", ErrNoNode, name)
	}
	if err != nil {
		return nil, fmt.Errorf("nodelifecycle: %w", err)
	}
	if _, ok := node.Labels[RoleLabel]; !ok {
		return nil, fmt.Errorf("%w: %s lacks the label %s", ErrNotEdge, name, RoleLabel)
	}
	return node, nil
}

// LocalVolumes lists the PersistentVolumes whose node affinity binds them to the node: what
// is in them stays on its machine. For a Node that is no edge node the error is ErrNotEdge, for
// none at all ErrNoNode.
func LocalVolumes(ctx context.Context, client kubernetes.Interface, node string) ([]Volume, error) {
	n, err := edgeNode(ctx, client, node)
	if err != nil {
		return nil, err
	}
	return localVolumes(ctx, client, n)
}

func localVolumes(ctx context.Context, client kubernetes.Interface, node *corev1.Node) ([]Volume, error) {
	list, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("nodelifecycle: list volumes: %w", err)
	}
	var all []Volume
	for i := range list.Items {
		pv := &list.Items[i]
		if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil || !namesNode(pv.Spec.NodeAffinity.Required, node) {
			continue
		}
		v := Volume{Name: pv.Name}
		if c := pv.Spec.ClaimRef; c != nil {
			v.Claim = c.Namespace + "/" + c.Name
		}
		all = append(all, v)
	}
	return all, nil
}

// namesNode reports whether a selector names the node, by its host name or its name.
func namesNode(s *corev1.NodeSelector, node *corev1.Node) bool {
	for _, term := range s.NodeSelectorTerms {
		for _, r := range term.MatchExpressions {
			if r.Key == corev1.LabelHostname && r.Operator == corev1.NodeSelectorOpIn && slices.Contains(r.Values, node.Labels[corev1.LabelHostname]) {
				return true
			}
		}
		for _, r := range term.MatchFields {
			if r.Key == metav1.ObjectNameField && slices.Contains(r.Values, node.Name) {
				return true
			}
		}
	}
	return false
}
