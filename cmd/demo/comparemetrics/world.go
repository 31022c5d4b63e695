package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
	"github.com/edgekit/edgekit/cmd/demo/site"
)

const (
	namespace = "default"
	edgeNode  = "edge"
)

// world is the cluster in which both run.
type world struct {
	site   *site.Site
	client kubernetes.Interface
}

func (w world) edgecore(ctx context.Context) (answers, error) {
	token, err := w.site.Token(ctx, edgeNode)
	if err != nil {
		return nil, err
	}
	if err := w.site.Join(ctx, edgeNode, token); err != nil {
		return nil, err
	}
	if _, err := w.site.StartEdge(edgeNode); err != nil {
		return nil, err
	}
	a, err := w.node(ctx, edgeNode)
	return a, errors.Join(err, w.site.StopEdge(context.WithoutCancel(ctx)))
}

func (w world) kubelet(ctx context.Context) (answers, error) {
	if err := w.site.BuildExtra(ctx, "kubelet"); err != nil {
		return nil, err
	}
	api, err := w.site.ProxyAPI()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	unlink, err := linkRuntime(strings.TrimPrefix(w.site.RuntimeEndpoint(), "unix://"))
	if err != nil {
		return nil, err
	}
	defer unlink()
	if _, err := w.site.StartKubelet(api); err != nil {
		return nil, err
	}
	a, err := w.node(ctx, w.site.KubeletNode())
	return a, errors.Join(err, w.site.StopKubelet(context.WithoutCancel(ctx)))
}

// stockSocket is where the kubelet's statistics look for containerd, whatever its flags say.
const stockSocket = "/run/containerd/containerd.sock"

// linkRuntime has the kubelet find the runtime at stockSocket. It changes nothing on a machine that
// has a containerd there: containers then have no names in the kubelet's series.
func linkRuntime(socket string) (unlink func(), err error) {
	if _, err := os.Lstat(stockSocket); err == nil {
		fmt.Println("  this machine has a containerd of its own: the kubelet's series of containers are without names")
		return func() {}, nil
	}
	madeFolder := os.Mkdir(filepath.Dir(stockSocket), 0o755) == nil
	if err := os.Symlink(socket, stockSocket); err != nil {
		return nil, err
	}
	return func() {
		_ = os.Remove(stockSocket) // what is left points nowhere
		if madeFolder {
			_ = os.Remove(filepath.Dir(stockSocket)) // unless somebody uses it
		}
	}, nil
}

// node runs the pods on a node, reads its answers, and deletes the pods.
func (w world) node(ctx context.Context, node string) (answers, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := w.claim(ctx, node); err != nil {
		return nil, err
	}
	for _, p := range pods(node) {
		err := until(ctx, func(ctx context.Context) error { // the service account is made a little later
			_, err := w.client.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if err := until(ctx, w.podsReady); err != nil {
		return nil, err
	}
	var all answers
	err := until(ctx, func(ctx context.Context) (err error) {
		all, err = w.ask(ctx, node)
		return err
	})
	return all, errors.Join(err, w.deletePods(ctx))
}

// ask reads every answer. The kubelet samples in the background: until it has seen the pod on
// every path there is no answer yet.
func (w world) ask(ctx context.Context, node string) (answers, error) {
	all := make(answers)
	for _, path := range paths() {
		text, err := w.client.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/" + node + "/proxy" + path).DoRaw(ctx)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", path, node, err)
		}
		all[path] = text
	}
	if all["/metrics"] == nil {
		return nil, fmt.Errorf("%s does not answer yet", node)
	}
	sampled := map[string]string{
		"/metrics": `persistentvolumeclaim="data"`, "/metrics/cadvisor": `container="app"`, "/metrics/resource": `pod="web"`, summaryPath: `"rxBytes"`,
	}
	for path, part := range sampled {
		if text, ok := all[path]; ok && !bytes.Contains(text, []byte(part)) {
			return nil, fmt.Errorf("%s of %s does not show %s yet", path, node, part)
		}
	}
	return all, nil
}

// claim makes a volume in a folder of the machine, and the claim that is bound to it.
func (w world) claim(ctx context.Context, node string) error {
	dir := filepath.Join(w.site.Dir(), "volume-"+node)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "volume-" + node},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: modes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			ClaimRef:               &corev1.ObjectReference{Namespace: namespace, Name: "data"},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}
	none := ""
	pvc := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: modes, StorageClassName: &none, VolumeName: pv.Name, Resources: corev1.VolumeResourceRequirements{Requests: size}},
	}
	if _, err := w.client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := w.client.CoreV1().PersistentVolumeClaims(namespace).Create(ctx, pvc, metav1.CreateOptions{})
	return err
}

// pods are the pods of the comparison: one with limits, probes, volumes and two containers, and
// one without any setting.
func pods(node string) []*corev1.Pod {
	grace := int64(1)
	pod := func(name string, containers ...corev1.Container) *corev1.Pod {
		for i := range containers {
			containers[i].Image, containers[i].ImagePullPolicy = devcluster.WebImage, corev1.PullIfNotPresent
		}
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PodSpec{
				NodeName: node, TerminationGracePeriodSeconds: &grace, Containers: containers,
				Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			},
		}
	}
	limits := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	probe := &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(8080)}},
		PeriodSeconds: 1, FailureThreshold: 60,
	}
	web := pod("web",
		corev1.Container{
			Name: "app", Resources: corev1.ResourceRequirements{Limits: limits}, LivenessProbe: probe, ReadinessProbe: probe,
			VolumeMounts: []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}, {Name: "data", MountPath: "/data"}},
		},
		corev1.Container{Name: "side", Env: []corev1.EnvVar{{Name: "LISTEN", Value: ":8081"}}},
	)
	web.Spec.Volumes = []corev1.Volume{
		{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
	}
	return []*corev1.Pod{web, pod("plain", corev1.Container{Name: "app"})}
}

func (w world) podsReady(ctx context.Context) error {
	list, err := w.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if want := len(pods("")); len(list.Items) != want {
		return fmt.Errorf("there are %d pods, not %d", len(list.Items), want)
	}
	for _, p := range list.Items {
		ready := false
		for _, c := range p.Status.Conditions {
			ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}
		if !ready {
			return fmt.Errorf("pod %s is not Ready: %+v", p.Name, p.Status.ContainerStatuses)
		}
	}
	return nil
}

func (w world) deletePods(ctx context.Context) error {
	err := errors.Join(
		w.client.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
		w.client.CoreV1().PersistentVolumeClaims(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
	)
	return errors.Join(err, until(ctx, func(ctx context.Context) error {
		pods, err := w.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		claims, err := w.client.CoreV1().PersistentVolumeClaims(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(pods.Items)+len(claims.Items) > 0 {
			return fmt.Errorf("%d pods and %d claims are there still", len(pods.Items), len(claims.Items))
		}
		return nil
	}))
}

// until asks once a second, until it is no error. The error is then the last one.
func until(ctx context.Context, ask func(context.Context) error) error {
	var last error
	if err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		last = ask(ctx)
		return last == nil, nil
	}); err != nil {
		return errors.Join(err, last)
	}
	return nil
}
