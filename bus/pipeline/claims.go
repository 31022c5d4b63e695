package pipeline

import (
	"fmt"
	"path"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// filesOf are the files that sinks write, by their paths, with the sinks' names.
func filesOf(p *v1alpha1.Pipeline) map[string]string {
	var out map[string]string
	for i := range p.Spec.Sinks {
		if s := &p.Spec.Sinks[i]; s.File != nil {
			if out == nil {
				out = make(map[string]string)
			}
			out[path.Clean(s.File.Path)] = string(s.Name)
		}
	}
	return out
}

// claim takes the files of a pipeline's sinks until release is called. If another pipeline has
// one of them, it takes none and returns the sink and why: two that write to one file, and
// rotate it, lose each other's events. Of pipelines that start at the same time the oldest has it.
func (r *Runner) claim(p *v1alpha1.Pipeline) (release func(), sink string, err error) {
	ref, files := Ref{p.Namespace, p.Name}, filesOf(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	for file, sink := range files {
		other, taken := r.claims[file]
		if !taken {
			other, taken = r.olderLocked(p, file)
		}
		if taken {
			return nil, sink, fmt.Errorf("file.path: a sink of pipeline %s writes to %.100q: each sink needs a file of its own", other, file)
		}
	}
	for file := range files {
		r.claims[file] = ref
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for file := range files {
			delete(r.claims, file)
		}
	}, "", nil
}

// olderLocked finds a pipeline that comes before p, is about to run and writes to a file. It
// needs mu.
func (r *Runner) olderLocked(p *v1alpha1.Pipeline, file string) (Ref, bool) {
	for ref, other := range r.want {
		s := r.supers[ref]
		if _, writes := filesOf(other)[file]; writes && s != nil && compareAge(other, p) < 0 && s.starting() {
			return ref, true
		}
	}
	return Ref{}, false
}
