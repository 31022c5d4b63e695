package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/crilog"
)

// logQuery is what a request for logs wants.
type logQuery struct {
	crilog.Options
	follow, previous bool
}

// queryError is the answer to a query with values out of range.
type queryError struct {
	status int
	text   string
}

func (e *queryError) Error() string { return e.text }

// parseLogQuery reads a request's query. now is what sinceSeconds counts from.
func parseLogQuery(q url.Values, now time.Time) (logQuery, error) {
	var out logQuery
	var err error
	flag := func(name string) (on bool) {
		if v := q.Get(name); v != "" && err == nil {
			if on, err = strconv.ParseBool(v); err != nil {
				err = &queryError{http.StatusBadRequest, fmt.Sprintf("%s=%q: want true or false", name, v)}
			}
		}
		return on
	}
	number := func(name string, least int64) *int64 {
		v := q.Get(name)
		if v == "" || err != nil {
			return nil
		}
		n, bad := strconv.ParseInt(v, 10, 64)
		switch {
		case bad != nil:
			err = &queryError{http.StatusBadRequest, fmt.Sprintf("%s=%q: want a number", name, v)}
		case n < least:
			err = &queryError{http.StatusUnprocessableEntity, fmt.Sprintf("%s=%d: want at least %d", name, n, least)}
		}
		return &n
	}
	out.follow, out.previous, out.Timestamps = flag("follow"), flag("previous"), flag("timestamps")
	out.Tail, out.Limit = number("tailLines", 0), number("limitBytes", 1)
	seconds := number("sinceSeconds", 1)
	if err != nil {
		return logQuery{}, err
	}
	if since := q.Get("sinceTime"); since != "" {
		if out.Since, err = time.Parse(time.RFC3339, since); err != nil {
			return logQuery{}, &queryError{http.StatusBadRequest, fmt.Sprintf("sinceTime=%q: want a time as in RFC 3339", since)}
		}
		if seconds != nil {
			return logQuery{}, &queryError{http.StatusUnprocessableEntity, "at most one of sinceTime and sinceSeconds may be given"}
		}
	}
	if seconds != nil {
		// More seconds than a Duration holds are all of the log.
		out.Since = now.Add(-time.Duration(min(*seconds, int64(1<<62/time.Second))) * time.Second)
	}
	switch s := q.Get("stream"); s {
	case "", corev1.LogStreamAll:
	case corev1.LogStreamStdout, corev1.LogStreamStderr:
		if out.Stream = strings.ToLower(s); out.Tail != nil {
			return logQuery{}, &queryError{http.StatusUnprocessableEntity, "tailLines and a single stream exclude each other"}
		}
	default:
		return logQuery{}, &queryError{http.StatusUnprocessableEntity, fmt.Sprintf("stream=%q: want All, Stdout or Stderr", s)}
	}
	return out, nil
}

// logs answers with the log of a container, and follows it if the request wants
// that.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	q, err := parseLogQuery(r.URL.Query(), time.Now())
	if e, ok := errors.AsType[*queryError](err); ok {
		fail(w, e.status, e)
		return
	}
	name, container := r.PathValue("pod"), r.PathValue("container")
	pod := s.cfg.Pods.Pod(r.PathValue("namespace"), name)
	if pod == nil {
		fail(w, http.StatusNotFound, fmt.Errorf("pod %q does not exist", name))
		return
	}
	if spec(pod, container) == nil {
		fail(w, http.StatusNotFound, fmt.Errorf("container %q not found in pod %q", container, name))
		return
	}
	id, err := loggedContainer(pod, container, q.previous)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	whole := id
	id = bareID(id)
	file := s.cfg.Pods.LogFile(pod, container, s.attempt(r.Context(), pod, container, id))
	if q.follow {
		changed, stop := s.watcher.Watch(file)
		defer stop()
		tick := time.NewTicker(s.cfg.Look)
		defer tick.Stop()
		q.Follow = &follower{changed: changed, tick: tick.C, running: func() bool { return s.stillRuns(pod, container, id) }}
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &headFirst{w: w}
	if _, err := os.Stat(file); err == nil && q.follow {
		out.Flush() // the client learns that it is connected, also where nothing is said yet
	}
	err = crilog.Copy(r.Context(), file, q.Options, out)
	switch {
	case err == nil || r.Context().Err() != nil:
	case errors.Is(err, fs.ErrNotExist) && !out.begun:
		fail(w, http.StatusBadRequest, fmt.Errorf("unable to retrieve container logs for %s", whole))
	case !out.begun:
		fail(w, http.StatusInternalServerError, err)
	default:
		s.log.Debug("a log was cut short", "file", file, "err", err)
		panic(http.ErrAbortHandler) // the client must not take this for the end
	}
}

// headFirst remembers whether anything was answered: an error before the first
// byte has a status code.
type headFirst struct {
	w     http.ResponseWriter
	begun bool
}

func (h *headFirst) Write(p []byte) (int, error) {
	h.begun = true
	return h.w.Write(p)
}

func (h *headFirst) Flush() {
	h.begun = true
	if f, ok := h.w.(http.Flusher); ok {
		f.Flush()
	}
}

// follower waits for more of a container's log.
type follower struct {
	changed <-chan struct{}
	tick    <-chan time.Time
	running func() bool
	looked  bool
}

// Wait returns when the log may have grown. It is false once the container has
// ended: nothing more comes.
func (f *follower) Wait(ctx context.Context) (bool, error) {
	if !f.looked {
		f.looked = true
		if !f.running() {
			return false, nil
		}
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-f.changed:
		return true, nil
	case <-f.tick:
		return f.running(), nil
	}
}

// stillRuns reports whether the container with that id runs, as far as is known.
func (s *Server) stillRuns(pod *corev1.Pod, container, id string) bool {
	now := s.cfg.Pods.Pod(pod.Namespace, pod.Name)
	if now == nil || now.UID != pod.UID {
		return false
	}
	st := status(now, container)
	return st != nil && bareID(st.ContainerID) == id && st.State.Running != nil
}

// attempt is the number in the name of the container's log file.
func (s *Server) attempt(ctx context.Context, pod *corev1.Pod, container, id string) uint32 {
	all, err := s.cfg.Runtime.ListContainers(ctx, string(pod.UID))
	if err == nil {
		for _, c := range all {
			if c.ID == id {
				return c.Attempt
			}
		}
	}
	// The runtime does not answer or has forgotten it: count.
	st := status(pod, container)
	n := max(st.RestartCount, 0)
	if bareID(st.ContainerID) != id && n > 0 {
		n--
	}
	return uint32(n)
}

// loggedContainer finds the container whose log is asked for, by its id as the pod
// reports it. The errors are the kubelet's: kubectl shows them.
func loggedContainer(pod *corev1.Pod, name string, previous bool) (string, error) {
	st := status(pod, name)
	if st == nil {
		return "", fmt.Errorf("container %q in pod %q is not available", name, pod.Name)
	}
	last := ""
	if t := st.LastTerminationState.Terminated; t != nil {
		last = t.ContainerID
	}
	ended := func(id string) (string, error) {
		if id == "" {
			return "", fmt.Errorf("container %q in pod %q is terminated", name, pod.Name)
		}
		return id, nil
	}
	switch {
	case previous && last == "":
		return "", fmt.Errorf("previous terminated container %q in pod %q not found", name, pod.Name)
	case previous:
		return last, nil
	case st.State.Running != nil:
		return st.ContainerID, nil
	case st.State.Terminated != nil:
		if id := st.State.Terminated.ContainerID; id != "" {
			return id, nil
		}
		return ended(last)
	case st.LastTerminationState.Terminated != nil:
		return ended(last)
	case st.State.Waiting == nil:
		return "", fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", name, pod.Name)
	}
	why := st.State.Waiting.Reason
	switch why {
	case "ErrImagePull":
		why = "image can't be pulled"
	case "ImagePullBackOff":
		why = "trying and failing to pull image"
	}
	return "", fmt.Errorf("container %q in pod %q is waiting to start: %s", name, pod.Name, why)
}

// status is a container's status; nil if it has none.
func status(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		if i := slices.IndexFunc(list, func(c corev1.ContainerStatus) bool { return c.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}

// spec is a container of the pod by name; nil if there is none.
func spec(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		if i := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if e := &pod.Spec.EphemeralContainers[i]; e.Name == name {
			return (*corev1.Container)(&e.EphemeralContainerCommon)
		}
	}
	return nil
}

// bareID removes the runtime's name from an id as pods report it.
func bareID(id string) string {
	if _, bare, ok := strings.Cut(id, "://"); ok {
		return bare
	}
	return id
}

func uid(s string) types.UID { return types.UID(s) }

var _ Pods = (*edged.Agent)(nil)
