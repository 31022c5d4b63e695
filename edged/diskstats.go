package edged

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/diskusage"
	"github.com/edgekit/edgekit/edged/stats"
)

// filesPerSummary is how many files one DiskUsage looks at, most of all. Folders with more are
// counted over several.
const filesPerSummary = 20_000

// DiskUsage says what pods take of the node's disk, by their uids, for the summary of edged/stats:
// their empty directories, and the logs of their containers. One call at a time looks; another
// waits for it until ctx ends, and is then without a result.
func (a *Agent) DiskUsage(ctx context.Context) map[string]stats.DiskUsage {
	select {
	case a.diskMeter <- struct{}{}:
		defer func() { <-a.diskMeter }()
	case <-ctx.Done():
		return nil
	}
	var dirs []string
	folders := make(map[*corev1.Pod][2]map[string]string)
	all := evictablePods{a}
	for _, p := range all.Active() {
		f := all.Folders(p)
		folders[p] = [2]map[string]string{f.Volumes, f.Logs}
		for _, list := range folders[p] {
			for _, dir := range list {
				dirs = append(dirs, dir)
			}
		}
	}
	if a.diskFolders == nil {
		a.diskFolders = diskusage.New()
	}
	used := a.diskFolders.Measure(ctx, dirs, filesPerSummary)
	out := make(map[string]stats.DiskUsage)
	for p, lists := range folders {
		var d [2]map[string]stats.Disk
		for i, list := range lists {
			d[i] = make(map[string]stats.Disk, len(list))
			for name, dir := range list {
				d[i][name] = stats.Disk(used[dir])
			}
		}
		out[string(p.UID)] = stats.DiskUsage{Volumes: d[0], Logs: d[1]}
	}
	return out
}
