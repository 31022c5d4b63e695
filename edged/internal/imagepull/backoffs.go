package imagepull

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/edgekit/edgekit/edged/internal/plan"
)

// BackOffs remembers the pulls of one pod that failed, by the key of the request. The zero
// value has none.
type BackOffs struct {
	mu    sync.Mutex
	byKey map[string]backOff
}

// backOff is that of one image.
type backOff struct {
	until   time.Time
	delay   time.Duration
	message string            // why the last pull failed
	attempt [sha256.Size]byte // its image and the credentials of the pod
}

// Waits reports whether the last pull for a key failed.
func (b *BackOffs) Waits(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.byKey[key]
	return ok
}

// get is the back-off of a key; the zero value if its last pull did not fail.
func (b *BackOffs) get(key string) backOff {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byKey[key]
}

// fail notes that a pull failed. The delays are those of restarts: 10 seconds to 5 minutes.
// Another attempt, of another image or with other credentials of the pod, starts afresh.
func (b *BackOffs) fail(key string, attempt [sha256.Size]byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byKey == nil {
		b.byKey = make(map[string]backOff)
	}
	delay := plan.InitialBackOff
	if last, ok := b.byKey[key]; ok && last.attempt == attempt {
		delay = min(2*last.delay, plan.MaxBackOff)
	}
	b.byKey[key] = backOff{until: time.Now().Add(delay), delay: delay, message: err.Error(), attempt: attempt}
}

// clear forgets the failures of a key.
func (b *BackOffs) clear(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.byKey, key)
}
