package edged

import "context"

// RemoveDead is what eviction calls when the disk is short.
func (a *Agent) RemoveDead(ctx context.Context) error { return a.disk.containers.RemoveDead(ctx) }

// ReclaimAll is what eviction calls when the disk of the images is short.
func (a *Agent) ReclaimAll(ctx context.Context) (uint64, error) { return a.disk.images.ReclaimAll(ctx) }
