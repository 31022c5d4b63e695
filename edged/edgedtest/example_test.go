package edgedtest_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/edgedtest"
)

// What is put into an API comes out of the methods of edged.Objects.
func ExampleAPI() {
	api := edgedtest.NewAPI()
	api.PutConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"level": "debug"}})
	cm, err := api.ConfigMap(context.Background(), "default", "settings")
	fmt.Println(cm.Data["level"], err)
	_, err = api.Secret(context.Background(), "default", "keys")
	fmt.Println(err)
	// Output:
	// debug <nil>
	// edgedtest: secret default/keys not found
}
