package identity

import (
	"context"
	"errors"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/live"
	"github.com/edgekit/edgekit/hub/join"
)

// WatchConfig says whom a Watcher tells. Both functions are called from one
// goroutine, must return soon, and may be nil.
type WatchConfig struct {
	// Authorities is called with the authorities at first and after each
	// change. Those that cannot be used are logged and not told.
	Authorities func(join.Authorities)
	// Revoked is called when the key with that hash was revoked, and with
	// false when that was taken back.
	Revoked func(keyHash string, revoked bool)
	Logger  *slog.Logger // nil discards
}

// Watcher tells a cloudcore what other programs change: the authorities and the
// revoked keys, both few. It costs one watch.
type Watcher struct {
	store   *Store
	cfg     WatchConfig
	secrets *live.Store[*corev1.Secret]
}

// Watch makes a Watcher; nothing happens until its Run.
func (s *Store) Watch(cfg WatchConfig) (*Watcher, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	selector := KindLabel + " in (" + KindCA + "," + KindRevoked + ")"
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		o.LabelSelector = selector
		return s.secrets.List(ctx, o)
	}
	follow := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector = selector
		return s.secrets.Watch(ctx, o)
	}
	secrets, err := live.New(live.Config[*corev1.Secret]{
		ListWatch: cache.ToListWatcherWithWatchListSemantics(
			&cache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: follow}, s.cfg.Client),
		Type: &corev1.Secret{}, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	w := &Watcher{store: s, cfg: cfg, secrets: secrets}
	secrets.OnChange(w.changed)
	return w, nil
}

// Run watches until ctx ends; it then returns nil. It may be called once.
func (w *Watcher) Run(ctx context.Context) error { return w.secrets.Run(ctx) }

// Synced is closed when all that was there at first has been told.
func (w *Watcher) Synced() <-chan struct{} { return w.secrets.Synced() }

func (w *Watcher) changed(c live.Change[*corev1.Secret]) {
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
	case s.Name == CAName && there && w.cfg.Authorities != nil:
		a, err := w.store.parse(s)
		if err != nil {
			w.cfg.Logger.Error("certificate authorities are not changed", "error", err)
			return
		}
		w.cfg.Authorities(a)
	case s.Name == CAName && !there:
		w.cfg.Logger.Error("certificate authorities were removed: they stay in use until cloudcore restarts, and then all nodes must join again",
			"error", errors.New("secret "+w.store.cfg.Namespace+"/"+CAName+" is gone"))
	}
}
