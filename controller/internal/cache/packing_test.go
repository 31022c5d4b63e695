package cache_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/internal/cache"
)

// runningPod is a pod of a Deployment as an API server has it, each with strings of its own.
func runningPod(i int) *corev1.Pod {
	at := metav1.NewTime(time.Unix(1_700_000_000, 0))
	word := func(s string) string { return s + "-" + strconv.Itoa(i) }
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: word("web-7f9c8d6b5c"), UID: types.UID(word("0b6b8c1e-8a0f-4f0e-9d0a")), ResourceVersion: strconv.Itoa(1000 + i),
		CreationTimestamp: at, Labels: map[string]string{"app": word("web"), "pod-template-hash": word("7f9c8d6b5c")},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: word("web"), UID: types.UID(word("uid"))}},
	}}
	p.Spec = corev1.PodSpec{
		NodeName: word("edge"), ServiceAccountName: "default", DNSPolicy: corev1.DNSClusterFirst, RestartPolicy: corev1.RestartPolicyAlways,
		Volumes: []corev1.Volume{{Name: word("kube-api-access"), VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}, {ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}}},
		}}}}},
		Containers: []corev1.Container{{
			Name: "main", Image: word("registry.example/web:1"), Env: []corev1.EnvVar{{Name: "A", Value: word("1")}, {Name: "B", Value: word("2")}},
			Resources:    corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}},
			VolumeMounts: []corev1.VolumeMount{{Name: word("kube-api-access"), MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}},
		}},
		Tolerations: []corev1.Toleration{{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists}, {Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists}},
	}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: word("10.0.0.1"), HostIP: word("10.1.0.1"), StartTime: &at, QOSClass: corev1.PodQOSBurstable}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: at})
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "main", Ready: true, Image: word("registry.example/web:1"), ImageID: word("sha256:0123456789abcdef"), ContainerID: word("containerd://0123456789abcdef"),
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}},
	}}
	return p
}

// podStore is a Store that holds n pods.
func podStore(tb testing.TB, n int, packing *cache.Packing[*corev1.Pod]) (*cache.Store[*corev1.Pod], func()) {
	tb.Helper()
	list := func(context.Context, metav1.ListOptions) (kruntime.Object, error) {
		pods := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
		for i := range n {
			// Decoded, as client-go has it: sharing of strings is not of a test.
			pods.Items = append(pods.Items, *decoded(tb, runningPod(i)))
		}
		return pods, nil
	}
	follow := func(context.Context, metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil }
	store, err := cache.New(cache.Config[*corev1.Pod]{
		ListWatch: toolscache.ToListWatcherWithWatchListSemantics(
			&toolscache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: follow}, fake.NewClientset()), // lists, as the fake does
		Type: &corev1.Pod{}, Packing: packing,
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- store.Run(ctx) }()
	<-store.Synced()
	return store, func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	}
}

func decoded(tb testing.TB, p *corev1.Pod) *corev1.Pod {
	tb.Helper()
	packing := cache.Protobuf[corev1.Pod]()
	data, err := packing.Pack(p)
	if err != nil {
		tb.Fatal(err)
	}
	out, err := packing.Unpack(data)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// TestPackedMemory: an encoded pod takes less than half the memory of a decoded one.
func TestPackedMemory(t *testing.T) {
	const pods = 2000
	measure := func(packing *cache.Packing[*corev1.Pod]) float64 {
		var before, after runtime.MemStats
		for range 2 {
			runtime.GC()
		}
		runtime.ReadMemStats(&before)
		store, stop := podStore(t, pods, packing)
		for range 2 {
			runtime.GC()
		}
		runtime.ReadMemStats(&after)
		n := store.Len()
		stop()
		if n != pods {
			t.Fatalf("%d pods", n)
		}
		return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / pods
	}
	plain, packed := measure(nil), measure(cache.Protobuf[corev1.Pod]())
	fmt.Printf("RESULT pod_decoded %.0f B\nRESULT pod_encoded %.0f B\n", plain, packed)
	if packed > plain/2 {
		t.Errorf("an encoded pod takes %.0f bytes, a decoded one %.0f", packed, plain)
	}
}

// BenchmarkLoad is what a look at a pod costs, decoded and encoded.
func BenchmarkLoad(b *testing.B) {
	for name, packing := range map[string]*cache.Packing[*corev1.Pod]{"decoded": nil, "encoded": cache.Protobuf[corev1.Pod]()} {
		b.Run(name, func(b *testing.B) {
			store, stop := podStore(b, 1, packing)
			defer stop()
			at := store.Names()[0]
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := store.Load(at); !ok {
					b.Fatal("no pod")
				}
			}
		})
	}
}

// BenchmarkPack is what is added to each change of a pod.
func BenchmarkPack(b *testing.B) {
	p, packing := runningPod(1), cache.Protobuf[corev1.Pod]()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := packing.Pack(p); err != nil {
			b.Fatal(err)
		}
	}
}
