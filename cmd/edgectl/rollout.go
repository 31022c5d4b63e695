package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/install"
)

// rolloutPoll is the time between two looks at a Deployment.
const rolloutPoll = time.Second

// rollout says whose Deployment is awaited, and for how long.
type rollout struct {
	namespace string
	limit     time.Duration
	out       io.Writer // gets a line for each change
}

// waitRollout returns when all pods of cloudcore's Deployment are of its newest version and
// ready. What keeps them from it is in the error.
func waitRollout(ctx context.Context, client kubernetes.Interface, r rollout) error {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	ticker := time.NewTicker(rolloutPoll)
	defer ticker.Stop()
	said := ""
	var last error // of the latest look; an API server may be away for a while, as when it is upgraded
	for {
		d, err := client.AppsV1().Deployments(r.namespace).Get(ctx, install.Name, metav1.GetOptions{})
		if ctx.Err() == nil {
			last = err
		}
		switch {
		case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err): // waiting mends nothing
			return fmt.Errorf("deployment %s/%s: %w", r.namespace, install.Name, err)
		case err == nil:
			done, line := progress(d)
			if line != said {
				fmt.Fprintln(r.out, line)
				said = line
			}
			if done {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("it is not known after %s whether cloudcore is ready: deployment %s/%s: %w", r.limit, r.namespace, install.Name, last)
			}
			return fmt.Errorf("cloudcore is not ready after %s: %s%s", r.limit, said, podTrouble(context.WithoutCancel(ctx), client, r.namespace))
		case <-ticker.C:
		}
	}
}

// progress reports how far a Deployment is.
func progress(d *appsv1.Deployment) (done bool, line string) {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	if s.ObservedGeneration < d.Generation {
		return false, "waiting for the cluster to see the Deployment"
	}
	done = s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want
	return done, fmt.Sprintf("cloudcore: %d of %d pods are new, %d ready", s.UpdatedReplicas, want, s.AvailableReplicas)
}

// podTrouble says what the first pod that is not ready waits for.
func podTrouble(ctx context.Context, client kubernetes.Interface, namespace string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + install.Name})
	if err != nil {
		return ""
	}
	for i := range pods.Items {
		if why := trouble(&pods.Items[i]); why != "" {
			return fmt.Sprintf("; pod %s: %s", pods.Items[i].Name, why)
		}
	}
	if len(pods.Items) == 0 {
		return "; no pod was made: look at 'kubectl -n " + namespace + " describe replicasets'"
	}
	return ""
}

func trouble(pod *corev1.Pod) string {
	for _, c := range pod.Status.ContainerStatuses {
		switch {
		case c.LastTerminationState.Terminated != nil && c.LastTerminationState.Terminated.Message != "":
			return strings.TrimSpace(c.LastTerminationState.Terminated.Message)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "ContainerCreating":
			return c.State.Waiting.Reason + ": " + c.State.Waiting.Message
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason + ": " + c.Message
		}
	}
	return ""
}

// serviceHint prints where the Service is, if that is not what the nodes are given.
func serviceHint(ctx context.Context, client kubernetes.Interface, o install.Options, out io.Writer) error {
	s, err := client.CoreV1().Services(namespaceOf(o)).Get(ctx, install.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	var have []string
	for _, i := range s.Status.LoadBalancer.Ingress {
		have = append(have, net.JoinHostPort(cmp.Or(i.Hostname, i.IP), linkPort))
	}
	if s.Spec.Type == corev1.ServiceTypeNodePort && len(s.Spec.Ports) == 2 {
		tcp, udp := s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort
		if tcp != udp {
			fmt.Fprintf(out, "the cluster chose port %d for TCP and %d for UDP: nodes use one number for both; give --node-port for QUIC\n", tcp, udp)
		}
		have = append(have, "port "+strconv.Itoa(int(tcp))+" of the cluster's machines")
	}
	if len(have) > 0 {
		fmt.Fprintf(out, "the Service is at %s\n", strings.Join(have, ", "))
	} else if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		fmt.Fprintf(out, "the Service has no address of a load balancer yet: 'kubectl -n %s get service %s' shows it\n", s.Namespace, install.Name)
	}
	return nil
}
