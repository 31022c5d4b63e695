package cache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/internal/cache"
)

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "1", -1}, {"1", "", 1}, {"9", "10", -1}, {"10", "9", 1}, {"7", "7", 0},
		{"18446744073709551616", "18446744073709551615", 1}, {"x", "1", -1}, {"1", "0", 1}, {"x", "y", 0},
	} {
		if got := cache.Compare(c.a, c.b); got != c.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func configMap(name, version, data string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, ResourceVersion: version,
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}},
		Data: map[string]string{"k": data},
	}
}

func newStore(client kubernetes.Interface) (*cache.Store[*corev1.ConfigMap], error) {
	return newPacked(client, nil)
}

func newPacked(client kubernetes.Interface, packing *cache.Packing[*corev1.ConfigMap]) (*cache.Store[*corev1.ConfigMap], error) {
	return cache.New(cache.Config[*corev1.ConfigMap]{
		ListWatch: toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return client.CoreV1().ConfigMaps("a").List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return client.CoreV1().ConfigMaps("a").Watch(ctx, o)
			},
		}, client),
		Type:    &corev1.ConfigMap{},
		Packing: packing,
		Same:    func(before, after *corev1.ConfigMap) bool { return before.Data["k"] == after.Data["k"] },
	})
}

func TestStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(configMap("one", "5", "x"))
		store, err := newStore(client)
		if err != nil {
			t.Fatal(err)
		}
		var notified []string
		store.OnChange(func(c cache.Change[*corev1.ConfigMap]) {
			notified = append(notified, fmt.Sprintf("%s %t %t %t", c.Name.Name, c.Old != nil, c.New != nil, c.Same))
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- store.Run(ctx) }()
		<-store.Synced()
		synctest.Wait()
		name := cache.Name{Namespace: "a", Name: "one"}
		item, ok := store.Load(name)
		if !ok || item.Version != "5" || item.Object.ManagedFields != nil {
			t.Errorf("loaded %+v, %t", item, ok)
		}
		// A change that does not matter keeps the version.
		if _, err := client.CoreV1().ConfigMaps("a").Update(ctx, configMap("one", "6", "x"), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if item, _ = store.Load(name); item.Version != "5" || item.Object.ResourceVersion != "6" {
			t.Errorf("version %s of object %s", item.Version, item.Object.ResourceVersion)
		}
		// A peer that is ahead of the version, but not of the object.
		if item, ok = store.LoadFor(name, "6"); !ok || item.Version != "6" {
			t.Errorf("LoadFor a peer with 6 gave %s, %t", item.Version, ok)
		}
		if _, ok = store.LoadFor(name, "7"); ok {
			t.Error("LoadFor a peer with 7 gave an object of 6")
		}
		if _, err := client.CoreV1().ConfigMaps("a").Update(ctx, configMap("one", "8", "y"), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := client.CoreV1().ConfigMaps("a").Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := "[one false true false one true true true one true true false one true false false]"
		if got := fmt.Sprint(notified); got != want || store.Len() != 0 {
			t.Errorf("told %s, %d left", got, store.Len())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestPacking: a Store that keeps objects encoded acts like one that does not, and gives each caller an
// object of its own.
func TestPacking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(configMap("one", "5", "x"))
		store, err := newPacked(client, cache.Protobuf[corev1.ConfigMap]())
		if err != nil {
			t.Fatal(err)
		}
		var notified []string
		store.OnChange(func(c cache.Change[*corev1.ConfigMap]) {
			text := c.Name.Name
			if c.Old != nil {
				text += " from " + c.Old.Data["k"]
			}
			if c.New != nil {
				text += " to " + c.New.Data["k"]
			}
			notified = append(notified, fmt.Sprintf("%s %t", text, c.Same))
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- store.Run(ctx) }()
		<-store.Synced()
		synctest.Wait()
		name := cache.Name{Namespace: "a", Name: "one"}
		item, ok := store.Load(name)
		if !ok || item.Version != "5" || item.Object.ManagedFields != nil || item.Object.Data["k"] != "x" {
			t.Errorf("loaded %+v, %t", item, ok)
		}
		item.Object.Data["k"] = "mine"
		for _, o := range store.Objects() {
			if o.Data["k"] != "x" {
				t.Errorf("a caller changed the Store: %v", o.Data)
			}
		}
		if _, err := client.CoreV1().ConfigMaps("a").Update(ctx, configMap("one", "6", "x"), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if v, ok := store.Version(name); v != "5" || !ok {
			t.Errorf("version %s, %t after a change that does not matter", v, ok)
		}
		if item, ok = store.LoadFor(name, "6"); !ok || item.Version != "6" {
			t.Errorf("LoadFor a peer with 6 gave %s, %t", item.Version, ok)
		}
		if _, ok = store.LoadFor(name, "7"); ok {
			t.Error("LoadFor a peer with 7 gave an object of 6")
		}
		if _, err := client.CoreV1().ConfigMaps("a").Update(ctx, configMap("one", "8", "y"), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := client.CoreV1().ConfigMaps("a").Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := "[one to x false one from x to x true one from x to y false one from y false]"
		if got := fmt.Sprint(notified); got != want || store.Len() != 0 {
			t.Errorf("notified of %s, %d left", got, store.Len())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func ExampleStore() {
	store, err := newStore(fake.NewClientset(configMap("settings", "1", "x")))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- store.Run(ctx) }()
	<-store.Synced()
	item, ok := store.Load(cache.Name{Namespace: "a", Name: "settings"})
	fmt.Println(item.Object.Data["k"], item.Version, ok)
	cancel()
	<-done
	// Output: x 1 true
}

func TestIndex(t *testing.T) {
	x := make(cache.Index[string])
	a, b := cache.Name{Name: "a"}, cache.Name{Name: "b"}
	x.Add("node", a)
	x.Add("node", b)
	x.Add("", a)
	x.Remove("other", a)
	x.Remove("node", a)
	if _, ok := x["node"][b]; !ok || len(x) != 1 || len(x["node"]) != 1 {
		t.Errorf("%v", x)
	}
	x.Remove("node", b)
	if len(x) != 0 {
		t.Errorf("%v is left", x)
	}
}
