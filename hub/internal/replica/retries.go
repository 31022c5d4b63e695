package replica

// retries are the sources of events that failed and wait for one timer. The timer
// runs for as long as the source with the fewest failures has to wait.
type retries[S interface{ failures() int }] struct {
	sources []S
	timer   bool // a RetryAfter is under way
}

// add lets a source wait for the timer.
func (r *retries[S]) add(src S) { r.sources = append(r.sources, src) }

// arm starts the timer if a source waits and the timer does not run.
func (r *retries[S]) arm(fx []Effect) []Effect {
	if len(r.sources) == 0 || r.timer {
		return fx
	}
	r.timer = true
	tries := r.sources[0].failures()
	for _, src := range r.sources {
		tries = min(tries, src.failures())
	}
	return append(fx, RetryAfter{RetryPause(tries)})
}

// take returns the sources that waited. It is called when the timer fires.
func (r *retries[S]) take() []S {
	all := r.sources
	r.sources, r.timer = nil, false
	return all
}

func (s *eventSource) failures() int { return s.tries }

func (a *arriving) failures() int { return a.tries }
