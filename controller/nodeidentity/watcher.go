package nodeidentity

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub/join"
)

// WatchConfig says whom a Watcher tells. The functions are called from one
// goroutine, must return soon, and may be nil.
type WatchConfig struct {
	// Authorities is called with the authorities at first and after each
	// change. Those that cannot be used are logged and not told.
	Authorities func(join.Authorities)
	// Revoked is called when the key with that hash was revoked, and with
	// false when that was taken back.
	Revoked func(keyHash string, revoked bool)
	// Names is called with the keys that have a node's name, as join.KeyReplacer
	// gives them, at first and after each change; with none when it was freed. nil
	// follows no names.
	Names  func(node string, keys []string)
	Logger *slog.Logger // nil discards
}

// Watcher tells a cloudcore what other programs change: the authorities, the
// revoked keys and who has which name. It costs one watch, and 1 KiB of memory for
// each node.
type Watcher struct {
	store   *Store
	cfg     WatchConfig
	secrets *cache.Store[*corev1.Secret]
}

// Watch makes a Watcher; nothing happens until its Run.
func (s *Store) Watch(cfg WatchConfig) (*Watcher, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	kinds := []string{KindCA, KindRevoked}
	if cfg.Names != nil {
		kinds = append(kinds, KindNode)
	}
	selector := KindLabel + " in (" + strings.Join(kinds, ",") + ")"
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		o.LabelSelector = selector
		return s.secrets.List(ctx, o)
	}
	follow := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector = selector
		return s.secrets.Watch(ctx, o)
	}
	secrets, err := cache.New(cache.Config[*corev1.Secret]{
		ListWatch: toolscache.ToListWatcherWithWatchListSemantics(
			&toolscache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: follow}, s.cfg.Client),
		Type: &corev1.Secret{}, Strip: stripClaims(), Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	w := &Watcher{store: s, cfg: cfg, secrets: secrets}
	secrets.OnChange(w.changed)
	return w, nil
}

// stripClaims leaves of a claim, of which there are many, only what is told.
func stripClaims() func(*corev1.Secret) {
	labels := map[string]string{KindLabel: KindNode} // of all of them; objects of a store do not change
	return func(s *corev1.Secret) {
		if s.Labels[KindLabel] != KindNode {
			return
		}
		s.Type, s.Annotations, s.OwnerReferences, s.Labels = "", nil, nil, labels
		maps.DeleteFunc(s.Data, func(field string, _ []byte) bool {
			return field != fieldNode && field != fieldKey && field != fieldKeyBefore
		})
	}
}

// Run watches until ctx ends; it then returns nil. It may be called once.
func (w *Watcher) Run(ctx context.Context) error { return w.secrets.Run(ctx) }

// Synced is closed when all that was there at first has been told.
func (w *Watcher) Synced() <-chan struct{} { return w.secrets.Synced() }

func (w *Watcher) changed(c cache.Change[*corev1.Secret]) {
	s, there := c.New, c.New != nil
	if !there {
		s = c.Old
	}
	switch {
	case s == nil || there && c.Same:
	case s.Labels[KindLabel] == KindRevoked:
		if key := string(s.Data[fieldKey]); w.cfg.Revoked != nil && s.Name == secretName(KindRevoked, key) {
			w.cfg.Revoked(key, there)
		}
	case s.Labels[KindLabel] == KindNode:
		node := string(s.Data[fieldNode])
		if w.cfg.Names == nil || s.Name != secretName(KindNode, node) {
			return
		}
		var keys []string
		if there {
			keys = keysOf(s)
		}
		w.cfg.Names(node, keys)
	case s.Name == CAName && there && w.cfg.Authorities != nil:
		a, err := w.store.parseAuthorities(s)
		if err != nil {
			w.cfg.Logger.Error("certificate authorities are not changed", "err", err)
			return
		}
		w.cfg.Authorities(a)
	case s.Name == CAName && !there:
		w.cfg.Logger.Error("certificate authorities were removed: they stay in use until cloudcore restarts, and then all nodes must join again",
			"err", errors.New("secret "+w.store.cfg.Namespace+"/"+CAName+" is gone"))
	}
}
