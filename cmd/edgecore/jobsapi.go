package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/edgekit/edgekit/edged/jobs"
)

// maxJobBody bounds the body of a request about jobs in bytes.
const maxJobBody = 16 << 10

// jobControl is what somebody at the machine may do with jobs; *jobs.Runner has it.
type jobControl interface {
	Waiting() (jobs.Status, bool)
	List() jobs.List
	Confirm(ctx context.Context, job string) (jobs.Status, error)
	Refuse(ctx context.Context, r jobs.Refusal) (jobs.Status, error)
	Upgrade(ctx context.Context, u jobs.LocalUpgrade) (jobs.Status, error)
	Rollback(ctx context.Context, r jobs.Rollback) (jobs.Status, error)
}

// jobPaths are the paths of the node's own API by which somebody at the machine sees jobs,
// confirms and refuses them, and begins upgrades. The second is KubeEdge's. Only the node's
// administrator may.
func jobPaths(control jobControl) map[string]http.Handler {
	const path = "/api/v1/taskupgrade"
	return map[string]http.Handler{
		path: jobHandler(http.MethodGet, func(*http.Request, []byte) (any, error) {
			if waiting, ok := control.Waiting(); ok {
				return waiting, nil
			}
			return nil, jobs.ErrNoJob
		}),
		path + "/confirm-upgrade": confirmHandler(control),
		path + "/refuse-upgrade": jobHandler(http.MethodPost, func(r *http.Request, body []byte) (any, error) {
			refusal, err := decodeJob[jobs.Refusal](body)
			if err != nil {
				return nil, err
			}
			return control.Refuse(r.Context(), refusal)
		}),
		path + "/jobs": jobHandler(http.MethodGet, func(*http.Request, []byte) (any, error) { return control.List(), nil }),
		path + "/upgrade": jobHandler(http.MethodPost, func(r *http.Request, body []byte) (any, error) {
			upgrade, err := decodeJob[jobs.LocalUpgrade](body)
			if err != nil {
				return nil, err
			}
			return control.Upgrade(r.Context(), upgrade)
		}),
		path + "/rollback": jobHandler(http.MethodPost, func(r *http.Request, body []byte) (any, error) {
			rollback, err := decodeJob[jobs.Rollback](body)
			if err != nil {
				return nil, err
			}
			return control.Rollback(r.Context(), rollback)
		}),
	}
}

// confirmHandler is KubeEdge's path, whose body it leaves empty. A body names the job.
func confirmHandler(control jobControl) http.Handler {
	return jobHandler(http.MethodPost, func(r *http.Request, body []byte) (any, error) {
		status, err := control.Confirm(r.Context(), strings.TrimSpace(string(body)))
		if errors.Is(err, jobs.ErrNoJob) { // KubeEdge answers 400, with these words
			err = &jobs.RequestError{Reason: "no valid upgrade tasks: " + err.Error()}
		}
		return status, err
	})
}

func decodeJob[T any](body []byte) (v T, err error) {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if len(body) == 0 {
		return v, nil
	}
	if err := d.Decode(&v); err != nil {
		return v, &jobs.RequestError{Reason: fmt.Sprintf("the body is not such JSON: %v", err)}
	}
	return v, nil
}

// jobHandler answers in JSON.
func jobHandler(method string, do func(r *http.Request, body []byte) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			http.Error(w, "use "+method, http.StatusMethodNotAllowed)
			return
		}
		if !onlyAdmin(w, r, "see jobs and decide about them") {
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJobBody))
		if err != nil {
			http.Error(w, "the body is too long", http.StatusBadRequest)
			return
		}
		answer, err := do(r, body)
		if err != nil {
			http.Error(w, err.Error(), jobCode(err))
			return
		}
		answerJSON(w, answer)
	})
}

// jobCode is the HTTP status for an error of jobs.
func jobCode(err error) int {
	var bad *jobs.RequestError
	switch {
	case errors.Is(err, jobs.ErrNoJob):
		return http.StatusNotFound
	case errors.As(err, &bad):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}
