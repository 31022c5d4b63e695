package badgerstore

import (
	"path/filepath"
	"time"

	"github.com/edgekit/edgekit/meta"
)

// count adds a group to the metrics.
func (s *Store) count(g *group, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.stats.Refused += uint64(len(g.requests))
		return
	}
	s.stats.Commits++
	s.stats.Batches += uint64(len(g.requests))
	for _, r := range g.requests {
		s.stats.Ops += uint64(len(r.ops))
		for _, op := range r.ops {
			s.stats.Bytes += uint64(len(op.Key) + len(op.Value))
		}
	}
	s.stats.Sync.Add(time.Since(g.begun))
}

// Stats returns the store's metrics. It reads the folder, so do not call it every second. It may be
// called at any time, also after Close.
func (s *Store) Stats() meta.Stats {
	s.mu.Lock()
	stats := s.stats
	stats.Revision = s.durable.Load()
	stats.Pinned = stats.Revision - s.oldestLocked()
	s.mu.Unlock()
	s.feed.Stats(&stats)
	stats.DiskBytes = folderSize(s.cfg.Dir) + folderSize(filepath.Join(s.cfg.Dir, dataName))
	stats.Damaged = len(asides(s.cfg.Dir))
	if left, err := diskRoom(s.cfg.Dir); err == nil {
		stats.FreeBytes = left.free
	}
	stats.Failure = s.mayWrite()
	select {
	case <-s.failing:
		stats.Failure = meta.ErrFailed
	default:
	}
	return stats
}
