// Package deviceapi has the messages of the device plugin API (package v1beta1 of
// k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto), as the node and as a plugin
// write and read them. The numbers of fields are those of the .proto file; a test
// compares each message with the generated one.
//
// A reader allocates at most a stated multiple of what it is given, and keeps none of it.
package deviceapi
