package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/kube"
)

// coldPods is how many pods the store holds.
const coldPods = 100

// TestColdStart powers a node on that has no network, whose certificate and
// service account tokens have expired, and whose store holds 100 pods that it
// ran before. All of them must run, and there is nobody to ask.
// "make bench-coldstart" prints how long that takes from the start of the
// process.
func TestColdStart(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("edgecore runs pods on Linux only")
	}
	data := joined(t, 24*time.Hour)
	fillStore(t, filepath.Join(data, storeDir))
	rt := runtimetest.New()
	rt.AddImage("registry.example/app:1")
	program := filepath.Join(t.TempDir(), "edgecore")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	args := []string{
		"--no-cgroups-per-qos", "--eviction-hard", "", "--data-dir", data, "--runtime-endpoint", critest.Serve(t, rt), "--pod-log-dir", filepath.Join(data, "logs"), "--container-log-links", "",
		"--cloud", "192.0.2.1:10000", "--mqtt-listen", "tcp://127.0.0.1:11994", "--max-pods", "200",
	}
	began := time.Now()
	cmd := alone(t.Context(), program, args)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // as at a power cut
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("edgecore said:\n%s", log.String())
		}
	}()
	var first time.Duration
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for started := 0; started < coldPods; {
		<-tick.C
		if time.Since(began) > time.Minute {
			t.Fatalf("%d of %d pods run after a minute", started, coldPods)
		}
		started = 0
		for _, call := range rt.Calls() {
			if strings.HasPrefix(call, "StartContainer") {
				started++
			}
		}
		if started > 0 && first == 0 {
			first = time.Since(began)
		}
	}
	fmt.Printf("RESULT coldstart_first_pod %.3f seconds\nRESULT coldstart_%d_pods %.3f seconds\n", first.Seconds(), coldPods, time.Since(began).Seconds())
}

// alone is a command that has no network but loopback, and no mounts that
// outlive it. Without root it has what the test has.
func alone(ctx context.Context, program string, args []string) *exec.Cmd {
	if os.Geteuid() != 0 {
		return exec.CommandContext(ctx, program, args...)
	}
	self, err := os.Executable()
	if err != nil {
		return exec.CommandContext(ctx, program, args...)
	}
	cmd := exec.CommandContext(ctx, self, append([]string{program}, args...)...)
	cmd.Env = append(os.Environ(), aloneEnv+"=1")
	cmd.SysProcAttr = isolated()
	return cmd
}

// aloneEnv has this test's own program become another one in its place, once
// it has set up loopback.
const aloneEnv = "EDGECORE_TEST_ALONE"

func TestMain(m *testing.M) {
	if os.Getenv(aloneEnv) == "" {
		os.Exit(m.Run())
	}
	err := loopbackUp()
	if err == nil {
		err = syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// fillStore stores what a node holds that ran 100 pods for a while, long ago.
func fillStore(t *testing.T, dir string) {
	t.Helper()
	store, err := badgerstore.Open(badgerstore.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	down := func(resource, name string, body any) {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		o := meta.Object{Key: meta.Key{Resource: resource, Namespace: "default", Name: name}, Version: "7", Body: text}
		if _, err := store.Apply(t.Context(), meta.Op{Key: meta.Down + o.Key.Path(), Value: meta.EncodeObject(o)}); err != nil {
			t.Fatal(err)
		}
	}
	tokens, err := kube.New(kube.Config{
		Store: store, Manager: tokenIssuer{}, Node: "edge-1", Now: func() time.Time { return time.Now().Add(-240 * time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	down("configmaps", "settings", corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"mode": "edge"}})
	down("secrets", "key", corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "key"}, Data: map[string][]byte{"key": []byte("secret")}})
	for i := range coldPods {
		pod := coldPod(i)
		down("pods", pod.Name, pod)
		seconds := int64(3600)
		if _, err := tokens.Token(t.Context(), "default", "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: &seconds, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		}}); err != nil {
			t.Fatal(err)
		}
	}
}

func coldPod(i int) *corev1.Pod {
	name := fmt.Sprintf("app-%d", i)
	seconds, grace := int64(3600), int64(30)
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid"), ResourceVersion: "7"},
		Spec: corev1.PodSpec{
			NodeName: "edge-1", RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSDefault, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.example/app:1", ImagePullPolicy: corev1.PullIfNotPresent,
				VolumeMounts: []corev1.VolumeMount{{Name: "settings", MountPath: "/settings"}, {Name: "key", MountPath: "/key"}, {Name: "token", MountPath: "/token"}},
			}},
			Volumes: []corev1.Volume{
				{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
				{Name: "key", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "key"}}},
				{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
				}}}},
			},
		},
	}
}

// tokenIssuer is a cloud of ten days ago that issues tokens.
type tokenIssuer struct{ kube.Manager }

func (tokenIssuer) Query(_ context.Context, q meta.Object) (meta.Object, error) {
	var req authenticationv1.TokenRequest
	if err := json.Unmarshal(q.Body, &req); err != nil {
		return meta.Object{}, err
	}
	req.Status = authenticationv1.TokenRequestStatus{Token: "old", ExpirationTimestamp: metav1.NewTime(time.Now().Add(-239 * time.Hour))}
	body, err := json.Marshal(req)
	return meta.Object{Key: q.Key, Body: body}, err
}
