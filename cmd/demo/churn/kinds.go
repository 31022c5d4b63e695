package main

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
)

// kind is one sort of pod, and what becomes of it when nobody deletes it.
type kind struct {
	name  string
	end   corev1.PodPhase
	never []corev1.PodPhase // what it may not be seen in before it is deleted
	spec  corev1.PodSpec
}

var (
	notOver    = []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed}
	notFailed  = []corev1.PodPhase{corev1.PodFailed}
	notDone    = []corev1.PodPhase{corev1.PodSucceeded}
	notStarted = []corev1.PodPhase{corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed}
)

func kinds() []kind {
	never, onFailure := corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure
	always := corev1.ContainerRestartPolicyAlways
	sidecar := tools("sidecar", "idle")
	sidecar.RestartPolicy = &always
	return []kind{
		{"idle", corev1.PodRunning, notOver, corev1.PodSpec{Containers: []corev1.Container{tools("c", "idle")}}},
		{"two", corev1.PodRunning, notOver, corev1.PodSpec{Containers: []corev1.Container{tools("a", "idle"), tools("b", "idle")}}},
		{"limits", corev1.PodRunning, notOver, corev1.PodSpec{Containers: []corev1.Container{limited(tools("c", "idle"))}}},
		{"stubborn", corev1.PodRunning, notOver, corev1.PodSpec{Containers: []corev1.Container{tools("c", "stamp", "/stamps")}}},
		{"init", corev1.PodRunning, notOver, corev1.PodSpec{
			InitContainers: []corev1.Container{tools("i", "test", "-d", "/")}, Containers: []corev1.Container{tools("c", "idle")}}},
		{"volumes", corev1.PodRunning, notOver, withVolumes()},
		{"crashes", corev1.PodRunning, notOver, corev1.PodSpec{Containers: []corev1.Container{tools("c", "test", "-d", "/absent"), tools("d", "idle")}}},
		{"succeeds", corev1.PodSucceeded, notFailed, corev1.PodSpec{
			RestartPolicy: onFailure, Containers: []corev1.Container{tools("c", "test", "-d", "/")}}},
		{"sidecar", corev1.PodSucceeded, notFailed, corev1.PodSpec{RestartPolicy: onFailure,
			InitContainers: []corev1.Container{sidecar}, Containers: []corev1.Container{tools("c", "test", "-d", "/")}}},
		{"fails", corev1.PodFailed, notDone, corev1.PodSpec{
			RestartPolicy: never, Containers: []corev1.Container{tools("c", "test", "-d", "/absent")}}},
		{"init fails", corev1.PodFailed, notDone, corev1.PodSpec{RestartPolicy: never,
			InitContainers: []corev1.Container{tools("i", "test", "-d", "/absent")}, Containers: []corev1.Container{tools("c", "idle")}}},
		{"no image", corev1.PodPending, notStarted, corev1.PodSpec{Containers: []corev1.Container{
			{Name: "c", Image: "edgekit.local/absent:1", ImagePullPolicy: corev1.PullNever}}}},
		{"no config map", corev1.PodPending, notStarted, corev1.PodSpec{
			Containers: []corev1.Container{tools("c", "idle")},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "absent"}}}}}}},
	}
}

func tools(name string, args ...string) corev1.Container {
	return corev1.Container{Name: name, Image: devcluster.ToolsImage, ImagePullPolicy: corev1.PullIfNotPresent, Args: args}
}

func limited(c corev1.Container) corev1.Container {
	all := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("32Mi")}
	c.Resources = corev1.ResourceRequirements{Requests: all, Limits: all}
	return c
}

// withVolumes has a folder of each sort, one of them also by a path inside it.
func withVolumes() corev1.PodSpec {
	c := tools("c", "idle")
	c.VolumeMounts = []corev1.VolumeMount{
		{Name: "disk", MountPath: "/disk"}, {Name: "disk", MountPath: "/part", SubPath: "part"},
		{Name: "memory", MountPath: "/memory"}, {Name: "config", MountPath: "/config"},
	}
	return corev1.PodSpec{
		Containers: []corev1.Container{c},
		Volumes: []corev1.Volume{
			{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
			{Name: "config", VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}}}},
		},
	}
}
