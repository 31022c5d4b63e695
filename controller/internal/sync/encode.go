package sync

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub"
)

// Encode returns an object as it is sent: the API object's JSON without managedFields, which
// Encode removes from obj. Nobody else may use obj.
func Encode(key hub.Key, version string, obj metav1.Object) (hub.Object, error) {
	if len(obj.GetManagedFields()) > 0 {
		obj.SetManagedFields(nil)
	}
	body, err := json.Marshal(obj)
	if err != nil {
		return hub.Object{}, err
	}
	return hub.Object{Key: key, Version: version, Body: body}, nil
}
