package edged_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestMain looks for goroutines that are left. Those of the one connection to systemd
// that github.com/opencontainers/cgroups keeps for the life of a program are none.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.(*Conn).inWorker"), goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.newConn.func1"),
		goleak.IgnoreAnyFunction("github.com/coreos/go-systemd/v22/dbus.(*Conn).dispatch.func1"))
}

// missing is the error of a cloud for what it does not have.
type missing string

func (e missing) Error() string { return string(e) + " is not there" }
func (missing) NotFound() bool  { return true }

// cloud is the Objects and Reports of an Agent: it holds pods, config maps and secrets,
// and records what was reported.
type cloud struct {
	mu        sync.Mutex
	pods      []*corev1.Pod
	watch     []chan []*corev1.Pod
	changes   []chan struct{}
	maps      map[string]*corev1.ConfigMap
	secrets   map[string]*corev1.Secret
	claims    map[string]*corev1.PersistentVolumeClaim
	volumes   map[string]*corev1.PersistentVolume
	status    map[types.UID]corev1.PodStatus
	history   map[types.UID][]corev1.PodStatus
	gone      map[types.UID]bool
	node      *corev1.Node
	nodes     int
	events    []string
	version   int
	mirrored  int
	noMirrors bool          // the cloud is away
	noDisk    error         // what is reported reaches the cloud and is not stored
	tokenEnd  time.Time     // of every token; zero means an hour from now
	woken     chan struct{} // holds a value when something was reported
}

func newCloud() *cloud {
	return &cloud{
		maps: make(map[string]*corev1.ConfigMap), secrets: make(map[string]*corev1.Secret),
		claims: make(map[string]*corev1.PersistentVolumeClaim), volumes: make(map[string]*corev1.PersistentVolume), status: make(map[types.UID]corev1.PodStatus),
		history: make(map[types.UID][]corev1.PodStatus), gone: make(map[types.UID]bool), woken: make(chan struct{}, 1),
	}
}

func (c *cloud) Pods(ctx context.Context) (<-chan []*corev1.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan []*corev1.Pod, 1)
	ch <- slices.Clone(c.pods)
	c.watch = append(c.watch, ch)
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.watch = slices.DeleteFunc(c.watch, func(o chan []*corev1.Pod) bool { return o == ch })
		close(ch)
	})
	return ch, nil
}

// census is a cloud whose list may lack pods; while it is connected, it can be asked for
// all of them.
type census struct {
	*cloud
	bound     []types.UID
	connected bool
	asked     int
}

func (c *census) Bound(context.Context) ([]types.UID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if !c.connected {
		return nil, errors.New("offline")
	}
	return slices.Clone(c.bound), nil
}

// MirrorPod adds the mirror pod with a new uid, as the API server does.
func (c *cloud) MirrorPod(_ context.Context, p *corev1.Pod) error {
	c.mu.Lock()
	away := c.noMirrors || slices.ContainsFunc(c.pods, func(o *corev1.Pod) bool { return o.Name == p.Name })
	c.mirrored++
	uid := types.UID(fmt.Sprintf("mirror-%d", c.mirrored))
	c.mu.Unlock()
	if !away {
		p = p.DeepCopy()
		p.UID = uid
		c.put(p)
	}
	return nil
}

func (c *cloud) ConfigMap(_ context.Context, ns, name string) (*corev1.ConfigMap, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.maps[ns+"/"+name]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("cloud: %w", missing("config map "+name))
}

func (c *cloud) Secret(_ context.Context, ns, name string) (*corev1.Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.secrets[ns+"/"+name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("cloud: %w", missing("secret "+name))
}

func (c *cloud) PersistentVolumeClaim(_ context.Context, ns, name string) (*corev1.PersistentVolumeClaim, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if claim := c.claims[ns+"/"+name]; claim != nil {
		return claim, nil
	}
	return nil, fmt.Errorf("cloud: %w", missing("claim "+name))
}

func (c *cloud) PersistentVolume(_ context.Context, name string) (*corev1.PersistentVolume, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pv := c.volumes[name]; pv != nil {
		return pv, nil
	}
	return nil, fmt.Errorf("cloud: %w", missing("volume "+name))
}

// bindClaim makes a claim, and binds it to a volume with this source unless that is nil.
func (c *cloud) bindClaim(ns, name string, src *corev1.PersistentVolumeSource) {
	c.mu.Lock()
	defer c.mu.Unlock()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(name + "-uid")}}
	claim.Status.Phase = corev1.ClaimPending
	if src != nil {
		claim.Spec.VolumeName, claim.Status.Phase = "pv-"+name, corev1.ClaimBound
		c.volumes["pv-"+name] = &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name}, Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: *src, ClaimRef: &corev1.ObjectReference{UID: claim.UID},
		}}
	}
	c.claims[ns+"/"+name] = claim
	for _, ch := range c.changes {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (c *cloud) Services(context.Context, string) ([]*corev1.Service, error) { return nil, nil }

func (c *cloud) Changed(ctx context.Context) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan struct{}, 1)
	c.changes = append(c.changes, ch)
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changes = slices.DeleteFunc(c.changes, func(o chan struct{}) bool { return o == ch })
		close(ch)
	})
	return ch
}

func (c *cloud) Token(context.Context, string, string, *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.tokenEnd
	if end.IsZero() {
		end = time.Now().Add(time.Hour)
	}
	return &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: "t0ken", ExpirationTimestamp: metav1.NewTime(end)}}, nil
}

func (c *cloud) Node(_ context.Context, n *corev1.Node) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = n.DeepCopy()
	c.nodes++
	c.wakeLocked()
	return c.noDisk
}

func (c *cloud) unwritable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noDisk
}

func (c *cloud) setDisk(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noDisk = err
}

func (c *cloud) LastNode(context.Context) (*corev1.Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.node == nil {
		return nil, fmt.Errorf("cloud: %w", missing("node"))
	}
	return c.node.DeepCopy(), nil
}

func (c *cloud) LastPodStatus(_ context.Context, p *corev1.Pod) (*corev1.PodStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	uid := p.UID
	for _, m := range c.pods { // a static pod is known by its mirror's uid
		if m.Annotations[corev1.MirrorPodAnnotationKey] == string(p.UID) {
			uid = m.UID
		}
	}
	if st, ok := c.status[uid]; ok {
		return st.DeepCopy(), nil
	}
	return nil, fmt.Errorf("cloud: %w", missing("status of "+p.Name))
}

func (c *cloud) PodStatus(_ context.Context, p *corev1.Pod) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status[p.UID] = *p.Status.DeepCopy()
	c.history[p.UID] = append(c.history[p.UID], *p.Status.DeepCopy())
	c.wakeLocked()
	return nil
}

func (c *cloud) PodGone(_ context.Context, p *corev1.Pod) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone[p.UID] = true
	c.pods = slices.DeleteFunc(c.pods, func(o *corev1.Pod) bool { return o.UID == p.UID })
	c.sendLocked()
	c.wakeLocked()
	return nil
}

func (c *cloud) Event(_ context.Context, e *corev1.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e.Reason+": "+e.Message)
	c.wakeLocked()
	return nil
}

func (c *cloud) wakeLocked() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

func (c *cloud) sendLocked() {
	for _, ch := range c.watch {
		select {
		case <-ch:
		default:
		}
		ch <- slices.Clone(c.pods)
	}
}

// put adds or replaces a pod.
func (c *cloud) put(p *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	p = p.DeepCopy()
	p.ResourceVersion = fmt.Sprint(c.version)
	c.pods = append(slices.DeleteFunc(c.pods, func(o *corev1.Pod) bool { return o.UID == p.UID }), p)
	c.sendLocked()
}

// remove takes a pod out of the list, as a forced deletion does.
func (c *cloud) remove(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods = slices.DeleteFunc(c.pods, func(o *corev1.Pod) bool { return o.UID == uid })
	c.sendLocked()
}

// del marks a pod as deleted, as kubectl delete does.
func (c *cloud) del(p *corev1.Pod, grace int64) {
	p = p.DeepCopy()
	now := metav1.Now()
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &grace
	c.put(p)
}

// setConfigMap stores a config map and notifies the agent.
func (c *cloud) setConfigMap(ns, name string, data map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.maps[ns+"/"+name] = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Data: data}
	for _, ch := range c.changes {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// wait waits for ok to hold, and checks it after each report.
func (c *cloud) wait(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	deadline := time.After(limit)
	for {
		c.mu.Lock()
		good := ok()
		c.mu.Unlock()
		if good {
			return
		}
		select {
		case <-c.woken:
		case <-deadline:
			c.mu.Lock()
			defer c.mu.Unlock()
			text, _ := json.MarshalIndent(c.status, "", " ")
			t.Fatalf("%s did not happen in %s\nstatus: %s\nevents: %q", what, limit, text, c.events)
		}
	}
}

func (c *cloud) isReady(uid types.UID) bool {
	for _, cond := range c.status[uid].Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

// newPod is a pod with one container of that name.
func newPod(name string, containers ...corev1.Container) *corev1.Pod {
	grace := int64(30)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid"), CreationTimestamp: metav1.Now(), Generation: 1},
		Spec: corev1.PodSpec{
			NodeName: "edge", RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSDefault, TerminationGracePeriodSeconds: &grace, Containers: containers,
		},
	}
}
