package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/edgekit/edgekit/cmd/cluster/process"
	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
	"github.com/edgekit/edgekit/edged/csi/csitest"
)

//go:embed volumes.yaml
var volumesYAML string

// csiDriver is the driver whose volumes are attached, and uniqueName the name of its
// volume in a Node's status.
const (
	csiDriver  = "attached.csi.example.com"
	uniqueName = "kubernetes.io/csi/" + csiDriver + "^vol-1"
)

// helperPod is the pod by which local-path-provisioner makes and removes folders, and
// provisionerConfig where.
const (
	helperPod         = `{apiVersion: v1, kind: Pod, metadata: {name: helper-pod}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: helper-pod, image: "edgekit.local/tools:1"}]}}`
	provisionerConfig = `{"nodePathMap":[{"node":"DEFAULT_PATH_FOR_NON_LISTED_NODES","paths":["DIR/local-path"]}],"setupCommand":"/bin/volume","teardownCommand":"/bin/volume"}`
)

// TestVolumes is what pods keep, without the rest: "make e2e-volumes".
func TestVolumes(t *testing.T) {
	if os.Getenv("VOLUMES") == "" {
		t.Skip("VOLUMES is not set: make e2e-volumes")
	}
	s := newSite(t)
	story(t, s)
	if t.Failed() {
		return
	}
	t.Run("volumes", func(t *testing.T) { volumes(t, s) })
}

// volumes is a test of pods whose volumes outlive them: a local volume that the
// scheduler binds, a StatefulSet on the stock local-path-provisioner, a volume of a CSI
// driver that is attached, an image; and of a pod that uses more than it may.
func volumes(t *testing.T, s *site.Site) {
	const most = 5 * time.Minute // a step takes seconds
	began := time.Now()
	v := &volumeTest{kube: newKube(t, s), dir: filepath.Join(s.Dir(), "volumes")}
	v.start(within(t, 10*time.Minute))
	t.Cleanup(func() { v.clean(context.WithoutCancel(t.Context())) })
	for _, step := range []struct {
		name string
		run  func(context.Context, *volumeTest)
	}{
		{"bound by the scheduler", localVolume},
		{"StatefulSet", statefulSet},
		{"evicted", evicted},
		{"over the limit of ephemeral storage", overLimit},
		{"not attached", notAttached},
		{"attached", attached},
		{"no link, edgecore and all containers killed", keptOffline},
		{"detached", detached},
		{"claim deleted", claimDeleted},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			part := *v
			part.kube = newKube(t, s)
			step.run(within(t, most), &part)
		})
		if !ok {
			t.Log(v.run(context.WithoutCancel(t.Context()), "", "get", "pods,pvc,pv,volumeattachments,csinodes,events", "-A"))
			return
		}
	}
	t.Logf("RESULT e2e_volumes %.0f seconds", time.Since(began).Seconds())
}

type volumeTest struct {
	kube
	dir    string // of the volumes
	driver *csitest.Driver
	attach chan<- bool // has the attacher begin
}

// start makes the volumes, their drivers and the pods.
func (v *volumeTest) start(ctx context.Context) {
	v.t.Helper()
	must := func(err error) {
		v.t.Helper()
		if err != nil {
			v.t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(v.dir, "local"), 0o755))
	must(v.s.BuildExtra(ctx, "local-path-provisioner"))
	must(os.WriteFile(filepath.Join(v.dir, "helper.yaml"), []byte(helperPod), 0o600))
	must(os.WriteFile(filepath.Join(v.dir, "config.json"), []byte(filled(provisionerConfig, "DIR", v.dir)), 0o600))
	var err error
	v.driver, err = csitest.New(csitest.Config{
		Name: csiDriver, Node: "machine-1", Folder: filepath.Join(v.dir, "csi"), Topology: map[string]string{"topology.example.com/rack": "a"},
		Registry: filepath.Join(v.s.DataDir(tour.Node), "pods", "plugins_registry"),
	})
	must(err)
	attach := make(chan bool, 1)
	v.attach = attach
	v.background(v.driver.Run)
	v.background(func(ctx context.Context) error { return v.attacher(ctx, attach) })
	v.run(ctx, filled(volumesYAML, "NODE", tour.Node, "DIR", v.dir, "DRIVER", csiDriver), "apply", "-f", "-")
	_, err = v.s.Start(process.Spec{Name: "local-path-provisioner", Path: v.s.Built("local-path-provisioner"), Args: []string{
		"start", "--kubeconfig=" + v.s.Kubeconfig(), "--config=" + filepath.Join(v.dir, "config.json"),
		"--helper-pod-file=" + filepath.Join(v.dir, "helper.yaml"), "--namespace=local-path-storage",
	}})
	must(err)
}

// background runs something until the test ends.
func (v *volumeTest) background(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(v.t.Context()))
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	v.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			v.t.Error(err)
		}
	})
}

// clean removes what start made, while the driver still runs.
func (v *volumeTest) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"-n", tour.Namespace, "statefulset/db", "deployment/greedy", "pod/overlimit", "pod/keeper", "pod/attached"},
		{"-n", tour.Namespace, "pvc/keeper", "pvc/attached", "pvc/data-db-0"},
		{"pv/e2e-local", "pv/e2e-attached", "storageclass/e2e-local", "storageclass/e2e-local-path", "csidriver/" + csiDriver, "namespace/local-path-storage"},
	} {
		if _, err := v.s.Kube().Run(ctx, "", append([]string{"delete", "--ignore-not-found", "--timeout=4m"}, args...)...); err != nil {
			v.t.Error(err)
		}
	}
	if err := v.s.Processes().Stop(ctx, "local-path-provisioner", 10*time.Second); err != nil {
		v.t.Error(err)
	}
}

// attacher does what the external-attacher of a driver does, once begin has a value:
// https://github.com/kubernetes-csi/external-attacher
func (v *volumeTest) attacher(ctx context.Context, begin <-chan bool) error {
	select {
	case <-begin:
	case <-ctx.Done():
		return nil
	}
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		var all storagev1.VolumeAttachmentList
		err := v.s.Kube().Get(ctx, &all, "volumeattachments")
		for _, a := range all.Items {
			if a.Spec.Attacher != csiDriver || a.Status.Attached || a.DeletionTimestamp != nil {
				continue
			}
			_, err = v.s.Kube().Run(ctx, "", "patch", "volumeattachment", a.Name, "--subresource=status", "--type=merge", "-p",
				`{"status":{"attached":true,"attachmentMetadata":{"device":"/dev/e2e"}}}`)
		}
		if err != nil && ctx.Err() == nil {
			v.t.Log("attacher: ", err, "; trying again")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// stamps reads what a pod wrote into its volume.
func stamps(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	return bytes.Split(text, []byte("\n")), err
}

// grows waits until a pod writes into its volume after what is there, and gives the
// first line.
func (v *volumeTest) grows(ctx context.Context, path string) string {
	v.t.Helper()
	var first [][]byte
	v.until(ctx, func() error {
		var err error
		if first, err = stamps(path); err == nil && len(first) < 2 {
			err = errors.New("nothing is written")
		}
		return err
	})
	v.until(ctx, func() error {
		now, err := stamps(path)
		if err == nil && len(now) <= len(first) {
			err = fmt.Errorf("%s stays at %d lines", path, len(now))
		}
		return err
	})
	return string(first[0])
}

// localPath is the file of the StatefulSet's pod.
func (v *volumeTest) localPath() string {
	all, _ := filepath.Glob(filepath.Join(v.dir, "local-path", "*", "stamps"))
	if len(all) != 1 {
		return filepath.Join(v.dir, "local-path", fmt.Sprintf("%d volumes", len(all)))
	}
	return all[0]
}

func (v *volumeTest) csiPath() string { return filepath.Join(v.driver.Volume("vol-1"), "stamps") }

func localVolume(ctx context.Context, v *volumeTest) {
	v.ready(ctx, "keeper", 1)
	v.grows(ctx, filepath.Join(v.dir, "local", "stamps"))
	want, err := os.ReadFile(v.s.ImageProgram("web"))
	if err != nil {
		v.t.Fatal(err)
	}
	got := v.run(ctx, "", "-n", tour.Namespace, "exec", "keeper", "--", "/tools", "sum", "/image/web")
	if strings.TrimSpace(got) != sha256Of(want) {
		v.t.Errorf("the image that is mounted has a program of sum %s", got)
	}
	v.until(ctx, func() error {
		text := v.run(ctx, "", "get", "--raw", "/api/v1/nodes/"+tour.Node+"/proxy/metrics")
		if !strings.Contains(text, `kubelet_volume_stats_capacity_bytes{namespace="demo",persistentvolumeclaim="keeper"}`) {
			return errors.New("the node's metrics do not say how large the claim's volume is")
		}
		return nil
	})
}

func statefulSet(ctx context.Context, v *volumeTest) {
	v.ready(ctx, "db", 1)
	first := v.grows(ctx, v.localPath())
	v.scale(ctx, 0)
	v.scale(ctx, 1)
	if again := v.grows(ctx, v.localPath()); again != first {
		v.t.Errorf("the volume begins with %q, and with %q after its pod was made anew", first, again)
	}
}

func (v *volumeTest) scale(ctx context.Context, replicas int) {
	v.t.Helper()
	v.run(ctx, "", "-n", tour.Namespace, "scale", "statefulset/db", fmt.Sprintf("--replicas=%d", replicas))
	v.ready(ctx, "db", replicas)
}

// evicted waits until the pod that overruns its emptyDir is evicted and replaced.
func evicted(ctx context.Context, v *volumeTest) {
	v.until(ctx, func() error {
		var failed, others int
		pods := v.pods(ctx, "greedy")
		for _, p := range pods {
			if p.Status.Phase == corev1.PodFailed && p.Status.Reason == "Evicted" && strings.Contains(p.Status.Message, `EmptyDir volume "data"`) {
				failed++
			} else {
				others++
			}
		}
		if failed == 0 || others == 0 {
			return fmt.Errorf("%d pods of the Deployment are evicted, %d are not", failed, others)
		}
		return nil
	})
	v.event(ctx, v.pods(ctx, "greedy")[0].Name, func(corev1.Event) bool { return true })
	v.run(ctx, "", "-n", tour.Namespace, "delete", "deployment/greedy", "--timeout=4m")
}

// overLimit waits until the pod is evicted that writes more than its containers' limits of
// ephemeral-storage allow.
func overLimit(ctx context.Context, v *volumeTest) {
	const message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi."
	v.until(ctx, func() error {
		pods := v.pods(ctx, "overlimit")
		if len(pods) != 1 {
			return fmt.Errorf("%d pods", len(pods))
		}
		if st := pods[0].Status; st.Phase != corev1.PodFailed || st.Reason != "Evicted" || !strings.HasPrefix(st.Message, message) {
			return fmt.Errorf("pod is %s %q %q, want Failed, Evicted and %q", st.Phase, st.Reason, st.Message, message)
		}
		return nil
	})
	v.event(ctx, "overlimit", func(e corev1.Event) bool {
		return e.Type == corev1.EventTypeWarning && e.Reason == "Evicted" && strings.HasPrefix(e.Message, message)
	})
	v.run(ctx, "", "-n", tour.Namespace, "delete", "pod/overlimit", "--timeout=4m")
}

// node reads the Node.
func (v *volumeTest) node(ctx context.Context) corev1.Node {
	v.t.Helper()
	var node corev1.Node
	if err := v.s.Kube().Get(ctx, &node, "node", tour.Node); err != nil {
		v.t.Fatal(err)
	}
	return node
}

// notAttached: while nobody attaches the volume the pod waits, and an event says why.
func notAttached(ctx context.Context, v *volumeTest) {
	v.event(ctx, "attached", func(e corev1.Event) bool {
		return e.Reason == "FailedAttachVolume" && strings.Contains(e.Message, "e2e-attached")
	})
	if node := v.node(ctx); !slices.Contains(node.Status.VolumesInUse, uniqueName) || node.Annotations["volumes.kubernetes.io/controller-managed-attach-detach"] != "true" {
		v.t.Errorf("the Node: in use %q, annotations %q", node.Status.VolumesInUse, node.Annotations)
	}
	var has storagev1.CSINode
	if err := v.s.Kube().Get(ctx, &has, "csinode", tour.Node); err != nil {
		v.t.Fatal(err)
	}
	drivers := has.Spec.Drivers
	if len(drivers) != 1 || drivers[0].Name != csiDriver || drivers[0].NodeID != "machine-1" || !slices.Equal(drivers[0].TopologyKeys, []string{"topology.example.com/rack"}) ||
		drivers[0].Allocatable == nil || *drivers[0].Allocatable.Count != 16 {
		v.t.Errorf("CSINode: %+v", drivers)
	}
}

func attached(ctx context.Context, v *volumeTest) {
	v.attach <- true
	v.ready(ctx, "attached", 1)
	v.grows(ctx, v.csiPath())
	if got := v.driver.Attachment("vol-1"); !maps.Equal(got, map[string]string{"device": "/dev/e2e"}) {
		v.t.Errorf("the driver got %q of the attachment", got)
	}
	if node := v.node(ctx); len(node.Status.VolumesAttached) != 1 || node.Status.VolumesAttached[0].Name != uniqueName {
		v.t.Errorf("attached: %+v", node.Status.VolumesAttached)
	}
}

// keptOffline cuts the link and ends edgecore and all containers: the pods come back on
// their volumes without a cloud.
func keptOffline(ctx context.Context, v *volumeTest) {
	files := []string{filepath.Join(v.dir, "local", "stamps"), v.localPath(), v.csiPath()}
	var began []string
	for _, file := range files {
		began = append(began, v.grows(ctx, file))
	}
	if err := v.s.Network().Cut(ctx); err != nil {
		v.t.Fatal(err)
	}
	mend := func() {
		if err := v.s.Network().Mend(context.WithoutCancel(ctx)); err != nil {
			v.t.Error(err)
		}
	}
	defer mend()
	if err := v.s.KillEdge(ctx); err != nil {
		v.t.Fatal(err)
	}
	if err := v.s.PowerCut(ctx); err != nil {
		v.t.Fatal(err)
	}
	if _, err := v.s.StartEdge(tour.Node); err != nil {
		v.t.Fatal(err)
	}
	for i, file := range files {
		if again := v.grows(ctx, file); again != began[i] {
			v.t.Errorf("%s begins with %q, and with %q after the power cut", file, began[i], again)
		}
	}
	mend()
	for _, app := range []string{"keeper", "db", "attached"} {
		v.ready(ctx, app, 1)
	}
}

// detached: the volume is given back, and detached only then.
func detached(ctx context.Context, v *volumeTest) {
	v.driver.Calls()
	v.run(ctx, "", "-n", tour.Namespace, "delete", "pod/attached", "--timeout=4m")
	v.until(ctx, func() error {
		var all storagev1.VolumeAttachmentList
		if err := v.s.Kube().Get(ctx, &all, "volumeattachments"); err != nil {
			return err
		}
		node := v.node(ctx)
		if len(all.Items)+len(node.Status.VolumesInUse)+len(node.Status.VolumesAttached) > 0 {
			return fmt.Errorf("attachments %+v, in use %q, attached %+v", all.Items, node.Status.VolumesInUse, node.Status.VolumesAttached)
		}
		return nil
	})
	if got, want := v.driver.Calls(), []string{"NodeUnpublishVolume vol-1", "NodeUnstageVolume vol-1"}; !slices.Equal(slices.DeleteFunc(got, func(call string) bool { return strings.HasPrefix(call, "NodeGetVolumeStats") }), want) {
		v.t.Errorf("the driver was asked for %q, want %q", got, want)
	}
}

// claimDeleted: the provisioner removes the folder of a claim that is deleted.
func claimDeleted(ctx context.Context, v *volumeTest) {
	folder := filepath.Dir(v.localPath())
	if _, err := os.Stat(folder); err != nil {
		v.t.Fatal(err)
	}
	v.run(ctx, "", "-n", tour.Namespace, "delete", "statefulset/db", "pvc/data-db-0", "--timeout=4m")
	v.until(ctx, func() error {
		if _, err := os.Stat(folder); err == nil {
			return fmt.Errorf("%s is still there", folder)
		}
		return nil
	})
}

func sha256Of(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }
