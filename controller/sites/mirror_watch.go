package sites

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/leader"
)

// list reads all objects, up to the limit. It returns the version of each namespace, and whether objects
// were left out.
func (m *mirror) list(ctx context.Context) (versions map[string]string, over bool, err error) {
	fresh := make(map[cache.Name]entry)
	versions = make(map[string]string)
	var bytes int64
	var last cache.Name
	for _, namespace := range m.namespaces {
		o := metav1.ListOptions{LabelSelector: m.selector.String()}
		for {
			o.Limit = pageSize(len(fresh), bytes)
			items, err := m.page(ctx, namespace, o)
			if err != nil {
				return nil, false, err
			}
			if versions[namespace] == "" {
				versions[namespace] = items.GetResourceVersion()
			}
			for i := range items.Items {
				e, err := encode(&items.Items[i])
				if err != nil {
					m.log.Error("an object of an EdgeSync is left out", "name", items.Items[i].GetName(), "err", err)
					continue
				}
				if len(fresh) == m.limit.objects || bytes+int64(len(e.body)) > m.limit.bytes {
					over = true
					break
				}
				last = nameOf(&items.Items[i])
				fresh[last] = e
				bytes += int64(len(e.body))
			}
			if o.Continue = items.GetContinue(); o.Continue == "" || over {
				break
			}
		}
		if over {
			break
		}
	}
	m.replace(fresh, bytes, versions, over, last)
	return versions, over, nil
}

// pageSize is how many objects the next list request asks for, by how large those before were: a page is
// in memory before any object of it is counted, and an object may have more than 1 MiB.
func pageSize(objects int, bytes int64) int64 {
	if objects == 0 {
		return firstPage
	}
	return min(max(pageBytes/max(bytes/int64(objects), 1), 1), page)
}

func (m *mirror) page(ctx context.Context, namespace string, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return m.client.Namespace(namespace).List(ctx, o)
}

// listVersion is the version of the list that an object of the namespace would be in.
func listVersion(versions map[string]string, namespace string) string {
	if v := versions[metav1.NamespaceAll]; v != "" {
		return v
	}
	return versions[namespace]
}

// follow watches all namespaces until one watch cannot go on.
func (m *mirror) follow(ctx context.Context, versions map[string]string) error {
	g, gctx := errgroup.WithContext(ctx)
	var waiting sync.Map // namespaces whose watch has not begun
	for namespace := range versions {
		waiting.Store(namespace, true)
	}
	for namespace, version := range versions {
		g.Go(func() error {
			return m.followOne(gctx, namespace, version, func() {
				waiting.Delete(namespace)
				left := false
				waiting.Range(func(any, any) bool { left = true; return false })
				if !left {
					m.setError(nil)
				}
			})
		})
	}
	return g.Wait()
}

// followOne watches one namespace, again and again. It calls began when a watch has begun.
func (m *mirror) followOne(ctx context.Context, namespace, version string, began func()) error {
	for {
		at := time.Now()
		life := int64((watchLife + rand.N(watchLife)) / time.Second)
		w, err := m.client.Namespace(namespace).Watch(ctx, metav1.ListOptions{
			LabelSelector: m.selector.String(), ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: &life,
		})
		if err != nil {
			return expired(err)
		}
		began()
		version, err = m.consume(ctx, w, version)
		w.Stop()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if time.Since(at) < watchPause {
			leader.Sleep(ctx, watchPause)
		}
	}
}

// expired makes errRelist of an error by which the API server asks for a new list.
func expired(err error) error {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return errRelist
	}
	return err
}

// consume takes the events of one watch until it ends. It returns the version from which the next
// one goes on.
func (m *mirror) consume(ctx context.Context, w watch.Interface, version string) (string, error) {
	for {
		var e watch.Event
		var open bool
		select {
		case e, open = <-w.ResultChan():
		case <-ctx.Done():
			return version, nil
		}
		if !open {
			return version, nil
		}
		if e.Type == watch.Error {
			return version, expired(apierrors.FromObject(e.Object))
		}
		u, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			return version, fmt.Errorf("controller/sites: the watch sent a %T", e.Object)
		}
		version = u.GetResourceVersion()
		switch e.Type {
		case watch.Added, watch.Modified:
			if !m.put(u) {
				return version, errRelist
			}
		case watch.Deleted:
			m.remove(nameOf(u), version)
		}
	}
}
