package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/meta"
)

// retrySeconds is how long clients should wait while the cloud is out of reach. It is only
// in the Status: with a Retry-After header client-go would repeat the call up to ten times
// before the user sees the answer.
const retrySeconds = 10

// statusOf returns the Status for an error.
func statusOf(err error) *metav1.Status {
	var known apierrors.APIStatus
	var status metav1.Status
	switch {
	case errors.As(err, &known):
		status = known.Status()
	case errors.Is(err, meta.ErrCompacted):
		status = apierrors.NewResourceExpired("the requested resourceVersion is not known here: list again").Status()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		status = apierrors.NewTimeoutError(err.Error(), retrySeconds).Status()
	default:
		status = apierrors.NewInternalError(err).Status()
	}
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	if status.Status == "" {
		status.Status = metav1.StatusFailure
	}
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
	}
	return &status
}

// unavailable is the error for a request that only the cloud can answer.
func unavailable(q request, why string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable,
		Message: why,
		Details: &metav1.StatusDetails{Group: q.group, Kind: q.resource, Name: q.name, RetryAfterSeconds: retrySeconds},
	}}
}

// againError ends a watch from the store when the link is connected.
func againError() error {
	return apierrors.NewResourceExpired("the node is connected again, and this watch has only what the node holds: list again")
}

func badRequest(format string, args ...any) error {
	return apierrors.NewBadRequest(fmt.Sprintf(format, args...))
}

// futureError is the error for a resourceVersion that the store has not reached. Its form
// is the one that client-go's reflector knows: the reflector then lists again.
func futureError(revision uint64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: the store is at %d", revision), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}
