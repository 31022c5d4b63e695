package simulate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	devices "github.com/edgekit/edgekit/controller/devices/client/clientset"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// cluster is what a simulation creates at the API server, in the name of its user.
type cluster struct {
	cfg     *Config
	client  kubernetes.Interface
	devices devices.Interface
	store   *nodeidentity.Store
}

func newCluster(cfg *Config) (*cluster, error) {
	own := rest.CopyConfig(cfg.REST)
	own.QPS, own.Burst = -1, 0
	c := &cluster{cfg: cfg}
	var err error
	if c.devices, err = devices.NewForConfig(own); err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	own.ContentType = "application/vnd.kubernetes.protobuf"
	if c.client, err = kubernetes.NewForConfig(own); err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	if c.store, err = nodeidentity.New(nodeidentity.Config{Client: c.client, Namespace: cfg.System}); err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	return c, nil
}

// labels are those of everything that is created.
func (c *cluster) labels() map[string]string { return map[string]string{Label: c.cfg.Name} }

// prepare creates what all nodes share.
func (c *cluster) prepare(ctx context.Context) error {
	_, err := c.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.cfg.Namespace, Labels: c.labels()}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("simulate: create the namespace: %w", err)
	}
	// A cluster without a controller manager, as in tests, has no service accounts.
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: serviceAccount, Labels: c.labels()}}
	_, err = c.client.CoreV1().ServiceAccounts(c.cfg.Namespace).Create(ctx, account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("simulate: create the service account of pods: %w", err)
	}
	if c.cfg.Twins == 0 {
		return nil
	}
	model := &v1beta1.DeviceModel{ObjectMeta: metav1.ObjectMeta{Name: c.cfg.Name, Labels: c.labels()}}
	for i := range c.cfg.Twins {
		model.Spec.Properties = append(model.Spec.Properties, schema.ModelProperty{Name: propertyName(i), Type: "STRING", AccessMode: "ReadOnly"})
	}
	_, err = c.devices.DevicesV1beta1().DeviceModels(c.cfg.Namespace).Create(ctx, model, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("simulate: create the device model: %w", err)
	}
	return nil
}

const serviceAccount = "simulation"

// provision creates the pods and the device of a node.
func (c *cluster) provision(ctx context.Context, n *node) error {
	for i := range c.cfg.Pods {
		name := podName(n.name, i)
		n.mu.Lock()
		if n.pods[name] != nil { // from an earlier run
			n.mu.Unlock()
			continue
		}
		n.pods[name] = &pod{created: time.Now()}
		n.mu.Unlock()
		if err := c.createPod(ctx, n.name, name); err != nil {
			return fmt.Errorf("create pod %s: %w", name, err)
		}
	}
	if c.cfg.Twins == 0 {
		return nil
	}
	device := &v1beta1.Device{
		ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: c.labels()},
		Spec:       schema.DeviceSpec{NodeName: n.name, ModelRef: schema.ModelRef{Name: c.cfg.Name}, Protocol: schema.Protocol{Name: "simulation"}},
	}
	for i := range c.cfg.Twins {
		device.Spec.Properties = append(device.Spec.Properties, schema.Property{Name: propertyName(i), ReportToCloud: true})
	}
	_, err := c.devices.DevicesV1beta1().Devices(c.cfg.Namespace).Create(ctx, device, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create device %s: %w", n.name, err)
	}
	return nil
}

func (c *cluster) createPod(ctx context.Context, node, name string) error {
	no, second := false, int64(1)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: c.labels()},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: serviceAccount, AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &second,
			HostNetwork: true,
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers:  []corev1.Container{{Name: "app", Image: image}},
		},
	}
	_, err := c.client.CoreV1().Pods(c.cfg.Namespace).Create(ctx, p, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// followTwins counts how long the values of devices take to a watcher, until ctx ends.
func (c *cluster) followTwins(ctx context.Context, took *histogram) error {
	if c.cfg.Twins == 0 {
		return nil
	}
	seen := time.Now() // values from before this run do not count
	for ctx.Err() == nil {
		if err := c.watchTwins(ctx, seen, took); err != nil && ctx.Err() == nil {
			c.cfg.Logger.Warn("the watch of device statuses has ended; it begins again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (c *cluster) watchTwins(ctx context.Context, from time.Time, took *histogram) error {
	w, err := c.devices.DevicesV1beta1().DeviceStatuses(c.cfg.Namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		status, ok := event.Object.(*v1beta1.DeviceStatus)
		if !ok || !c.cfg.isNode(status.Name) || len(status.Status.Twins) == 0 || status.Status.Twins[0].Reported == nil {
			continue
		}
		nanos, err := strconv.ParseInt(status.Status.Twins[0].Reported.Value, 10, 64)
		if at := time.Unix(0, nanos); err == nil && at.After(from) {
			took.add(time.Since(at))
		}
	}
	return errors.New("the API server has closed it")
}

// Cleanup removes everything of simulations of a name: pods, devices, Nodes with their Leases, and
// claims of names. It uses only REST, Name, Namespace and System of cfg. It may be
// called while no simulation of that name runs.
func Cleanup(ctx context.Context, cfg Config) error {
	cfg.Servers, cfg.Nodes = []string{"unused:1"}, 1
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	c, err := newCluster(&cfg)
	if err != nil {
		return err
	}
	return c.cleanup(ctx)
}

const cleanupParallel = 16

func (c *cluster) cleanup(ctx context.Context) error {
	chosen := metav1.ListOptions{LabelSelector: Label + "=" + c.cfg.Name}
	now := int64(0)
	orDone := func(err error) error {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	dev := c.devices.DevicesV1beta1()
	err := errors.Join(
		orDone(c.client.CoreV1().Pods(c.cfg.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, chosen)),
		orDone(dev.Devices(c.cfg.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, chosen)),
		orDone(dev.DeviceModels(c.cfg.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, chosen)),
	)
	if err != nil {
		return fmt.Errorf("simulate: remove pods and devices: %w", err)
	}
	nodes, err := c.client.CoreV1().Nodes().List(ctx, chosen)
	if err != nil {
		return fmt.Errorf("simulate: list the nodes: %w", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(cleanupParallel)
	for _, n := range nodes.Items {
		g.Go(func() error { return c.removeNode(gctx, n.Name) })
	}
	// A node whose Node was never made has a claim all the same.
	claims, err := c.store.ListNodes(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("simulate: list the claims of names: %w", err), g.Wait())
	}
	for _, claim := range claims {
		if c.cfg.isNode(claim.Node) {
			g.Go(func() error { return c.releaseName(gctx, claim.Node) })
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	return nil
}

// removeNode deletes a Node and its Leases, which a garbage collector would remove too.
func (c *cluster) removeNode(ctx context.Context, name string) error {
	for _, err := range []error{
		c.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}),
		c.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(ctx, name, metav1.DeleteOptions{}),
		c.client.CoordinationV1().Leases(c.cfg.System).Delete(ctx, "edgekit-node-"+name, metav1.DeleteOptions{}),
	} {
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove node %s: %w", name, err)
		}
	}
	return nil
}

// releaseName removes the claim of a name, as if no machine had ever had it.
func (c *cluster) releaseName(ctx context.Context, name string) error {
	key, err := c.store.Holder(ctx, name)
	if err != nil || key == "" {
		return err
	}
	return c.store.Release(ctx, name, key)
}
