using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (services = [(name = "main", worker = .hello)]);

const hello :Workerd.Worker = (
  modules = [(
    name = "worker",
    esModule = "export default { async test() { console.log('hello') } }"
  )],
  compatibilityDate = "2024-01-01",
);
