package pipelines

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
)

// listing is an API server for ConfigMaps and Secrets: what List answers, and the watches.
type listing struct {
	mu      sync.Mutex
	err     error
	lists   int
	secret  *corev1.Secret
	config  *corev1.ConfigMap
	watches []*watch.RaceFreeFakeWatcher
}

func (l *listing) client() *kubefake.Clientset {
	c := kubefake.NewClientset()
	c.PrependReactor("list", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lists++
		if l.err != nil {
			return true, nil, l.err
		}
		other := metav1.ObjectMeta{Namespace: "plant", Name: "other", ResourceVersion: "1"}
		if a.GetResource().Resource == "secrets" {
			list := &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "5"}, Items: []corev1.Secret{{ObjectMeta: other}}}
			if l.secret != nil {
				list.Items = append(list.Items, *l.secret)
			}
			return true, list, nil
		}
		list := &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "5"}, Items: []corev1.ConfigMap{{ObjectMeta: other}}}
		if l.config != nil {
			list.Items = append(list.Items, *l.config)
		}
		return true, list, nil
	})
	c.PrependWatchReactor("*", func(clienttesting.Action) (bool, watch.Interface, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		w := watch.NewRaceFreeFake()
		l.watches = append(l.watches, w)
		return true, w, nil
	})
	return c
}

func (l *listing) set(f func()) *watch.RaceFreeFakeWatcher {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	if len(l.watches) == 0 {
		return nil
	}
	return l.watches[len(l.watches)-1]
}

func (l *listing) counts() (lists, watches int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lists, len(l.watches)
}

// TestInputs: each ConfigMap and Secret that a Pipeline names is followed while one names it,
// through missing rights, broken watches and deletion.
func TestInputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listing{err: apierrors.NewForbidden(corev1.Resource("secrets"), "login", errors.New("no"))}
		x := newCloudcore(t, newServer(), "cloudcore-1", func(c *Config) { c.Cloud = l.client() }).c.inputs
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() {
			if err := x.run(ctx); err != nil {
				t.Error(err)
			}
		})
		secret, config := inputRef{wire.Secret, "plant", "login"}, inputRef{wire.ConfigMap, "plant", "rows"}
		want := func(what string, ref inputRef, reason, content string) {
			t.Helper()
			synctest.Wait()
			in := x.get(ref)
			if !in.known || in.reason != reason || in.content.Text["k"]+string(in.content.Data["k"]) != content {
				t.Errorf("%s: %+v", what, in)
			}
		}
		x.change(name, nil, map[inputRef]struct{}{secret: {}})
		want("without rights", secret, reasonForbidden, "")
		if m := x.get(secret).message; !strings.Contains(m, "kubectl create rolebinding") {
			t.Errorf("no remedy: %s", m)
		}
		l.set(func() { l.err = errors.New("away") })
		time.Sleep(inputRetry)
		want("the API server is away", secret, reasonUnread, "")
		l.set(func() { l.err = nil })
		time.Sleep(2 * inputRetry)
		want("none", secret, reasonMissing, "")

		w := l.set(func() {})
		w.Add(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "login", ResourceVersion: "6"}, Data: map[string][]byte{"k": []byte("v6")}})
		want("made", secret, "", "v6")
		w.Modify(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "other", ResourceVersion: "7"}, Data: map[string][]byte{"k": []byte("another's")}})
		want("another one changed", secret, "", "v6")
		w.Error(&metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonExpired, Code: 410})
		l.set(func() {
			l.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "login", ResourceVersion: "9"}, Data: map[string][]byte{"k": []byte("v9")}}
		})
		time.Sleep(inputRetry)
		want("the watch was too old", secret, "", "v9")
		l.set(func() { l.err = errors.New("away") }).Stop()
		time.Sleep(inputRetryMax)
		want("the API server is away: what is known stays", secret, "", "v9")
		l.set(func() { l.err = nil })
		time.Sleep(inputRetryMax)
		l.set(func() {}).Delete(l.secret)
		want("deleted", secret, reasonMissing, "")

		// A second Pipeline names it, and the first another one.
		second := cache.Name{Namespace: "plant", Name: "q"}
		l.set(func() {
			l.config = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "rows", ResourceVersion: "9"}, Data: map[string]string{"k": "rows"}}
		})
		x.change(second, nil, map[inputRef]struct{}{secret: {}})
		x.change(name, map[inputRef]struct{}{secret: {}}, map[inputRef]struct{}{config: {}})
		want("a ConfigMap", config, "", "rows")
		want("still named", secret, reasonMissing, "")
		x.change(second, map[inputRef]struct{}{secret: {}}, nil)
		synctest.Wait()
		if in := x.get(secret); in.known {
			t.Errorf("nobody names it: %+v", in)
		}
		lists, watches := l.counts()
		time.Sleep(time.Hour) // only the ConfigMap is watched, and its watch holds
		if a, b := l.counts(); a != lists || b != watches {
			t.Errorf("%d lists and %d watches more", a-lists, b-watches)
		}
		cancel()
		work.Wait()
		x.change(second, nil, map[inputRef]struct{}{secret: {}}) // after run nothing begins
		synctest.Wait()
	})
}
