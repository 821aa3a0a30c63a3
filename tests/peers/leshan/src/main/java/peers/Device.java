package peers;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Collection;
import java.util.Date;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;

import org.eclipse.leshan.client.LeshanClient;
import org.eclipse.leshan.client.LeshanClientBuilder;
import org.eclipse.leshan.client.engine.DefaultRegistrationEngineFactory;
import org.eclipse.leshan.client.object.Server;
import org.eclipse.leshan.client.observer.LwM2mClientObserverAdapter;
import org.eclipse.leshan.client.resource.BaseInstanceEnabler;
import org.eclipse.leshan.client.resource.BaseInstanceEnablerFactory;
import org.eclipse.leshan.client.resource.LwM2mInstanceEnabler;
import org.eclipse.leshan.client.resource.ObjectsInitializer;
import org.eclipse.leshan.client.send.ManualDataSender;
import org.eclipse.leshan.client.servers.LwM2mServer;
import org.eclipse.leshan.core.ResponseCode;
import org.eclipse.leshan.core.model.ObjectModel;
import org.eclipse.leshan.core.model.ResourceModel;
import org.eclipse.leshan.core.model.StaticModel;
import org.eclipse.leshan.core.node.LwM2mMultipleResource;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.node.LwM2mResourceInstance;
import org.eclipse.leshan.core.node.LwM2mSingleResource;
import org.eclipse.leshan.core.node.ObjectLink;
import org.eclipse.leshan.core.request.BindingMode;
import org.eclipse.leshan.core.request.ContentFormat;
import org.eclipse.leshan.core.request.DeregisterRequest;
import org.eclipse.leshan.core.request.RegisterRequest;
import org.eclipse.leshan.core.request.UpdateRequest;
import org.eclipse.leshan.core.request.argument.Arguments;
import org.eclipse.leshan.core.response.ExecuteResponse;
import org.eclipse.leshan.core.response.ObserveResponse;
import org.eclipse.leshan.core.response.ReadResponse;
import org.eclipse.leshan.core.response.WriteResponse;
import org.eclipse.leshan.core.util.datatype.ULong;
import org.eclipse.leshan.transport.californium.client.endpoint.CaliforniumClientEndpointsProvider;

/**
 * A Leshan client that a test drives: {@code Device coap://host:port ENDPOINT LIFETIME [queue|awake
 * [CREDENTIALS]]}; over coap+tcp:// it uses a stream, with {@code queue} it registers in queue mode. What it
 * shows to be let in over coaps:// is said in {@link Credentials}.
 *
 * Standard input, one command a line: {@code set /3303/0/5700 22.5} changes a value and notifies,
 * {@code get PATH}, {@code send FORMAT PATH,PATH}, {@code update}, {@code deregister}, {@code start}, {@code quit}.
 * Standard output: one JSON object a line for everything that happens: registered, updated, deregistered, failed,
 * read, written, executed, observed, created, deleted, value, sent.
 */
public final class Device {

    private final LeshanClient client;

    private Device(String uri, String endpoint, long lifetime, boolean queueMode, Credentials credentials) {
        boolean stream = uri.startsWith("coap+tcp:");
        ObjectsInitializer initializer = new ObjectsInitializer(new StaticModel(Models.all()));
        initializer.setInstancesForObject(0, credentials.security(uri, 101));
        initializer.setInstancesForObject(1, new Server(101, lifetime,
                EnumSet.of(stream ? BindingMode.T : BindingMode.U), false, stream ? BindingMode.T : BindingMode.U));
        initializer.setInstancesForObject(3, new Instance(0, Map.of(
                0, "Eclipse", 1, "Leshan", 2, "LN-" + endpoint, 3, "2.0.0", 9, 88L, 10, 4096L,
                6, Map.of(0, 1L, 1, 5L), 11, Map.of(0, 0L), 15, "Europe/Paris", 16, stream ? "T" : "U")));
        initializer.setInstancesForObject(4, new Instance(0, Map.of(
                0, 41L, 1, Map.of(0, 41L), 2, -71L, 3, 80L, 4, Map.of(0, "127.0.0.1", 1, "::1"))));
        initializer.setInstancesForObject(6, new Instance(0, Map.of(
                0, 43.2965, 1, 5.3698, 5, new Date(1_700_000_000_000L))));
        initializer.setInstancesForObject(Models.TEMPERATURE, temperature(0, 21.5), temperature(1, -4.25));
        initializer.setInstancesForObject(Models.TEST_OBJECT, testObject(0));
        for (int id : new int[] { 3, 4, 6, Models.TEMPERATURE, Models.TEST_OBJECT }) {
            initializer.setFactoryForObject(id, new Instances());
        }

        client = new LeshanClientBuilder(endpoint).setObjects(initializer.createAll())
                .setRegistrationEngineFactory(new DefaultRegistrationEngineFactory().setQueueMode(queueMode))
                .setDataSenders(new ManualDataSender())
                .setEndpointsProviders(stream
                        ? new CaliforniumClientEndpointsProvider.Builder(new Stream()).build()
                        : Credentials.endpoints())
                .build();
        client.addObserver(new Reporter());
    }

    public static void main(String[] arguments) throws Exception {
        Device device = new Device(arguments[0], arguments[1], Long.parseLong(arguments[2]),
                arguments.length > 3 && arguments[3].equals("queue"),
                new Credentials(arguments.length > 4 ? arguments[4] : "nosec"));
        device.client.start();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null && !line.equals("quit"); line = input.readLine()) {
            device.obey(line.strip().split(" ", 3));
        }
        device.client.destroy(false);
        System.exit(0);
    }

    private void obey(String[] words) {
        try {
            switch (words[0]) {
            case "set" -> instance(words[1]).change(ids(words[1])[2], words[2]);
            case "get" -> Lines.print("value", "path", words[1], "value", instance(words[1]).shown(words[1]));
            case "send" -> send(ContentFormat.fromCode(words[1]), List.of(words[2].split(",")));
            case "update" -> client.triggerRegistrationUpdate();
            case "deregister" -> client.stop(true);
            case "start" -> client.start();
            default -> Lines.print("failed", "what", "command", "reason", words[0]);
            }
        } catch (RuntimeException error) {
            Lines.print("failed", "what", "command", "reason", error.toString());
        }
    }

    /** The Send operation, to the one server. */
    private void send(ContentFormat format, List<String> paths) {
        LwM2mServer server = client.getRegisteredServers().values().iterator().next();
        client.getSendService().sendData(server, format, paths, 10_000,
                answer -> Lines.print("sent", "code", answer.getCode().getCode(), "reason", answer.getErrorMessage()),
                error -> Lines.print("failed", "what", "send", "reason", error.toString()));
    }

    private Instance instance(String path) {
        int[] ids = ids(path);
        var enabler = (org.eclipse.leshan.client.resource.ObjectEnabler) client.getObjectTree()
                .getObjectEnabler(ids[0]);
        return (Instance) enabler.getInstance(ids[1]);
    }

    private static int[] ids(String path) {
        String[] parts = path.substring(1).split("/");
        int[] ids = new int[parts.length];
        for (int i = 0; i < parts.length; i++) {
            ids[i] = Integer.parseInt(parts[i]);
        }
        return ids;
    }

    private static Instance temperature(int id, double value) {
        return new Instance(id, Map.of(5700, value, 5601, value, 5602, value, 5701, "Cel", 5750, "cellar"));
    }

    private static Instance testObject(int id) {
        Map<Integer, Object> values = new HashMap<>();
        values.put(110, "initial value");
        values.put(120, 1024L);
        // Not the highest one: Leshan 2.0.0-M18 writes 2^64 - 1 into TLV as the one byte 0xff.
        values.put(125, ULong.valueOf("9223372036854775809"));
        values.put(130, 3.14159);
        values.put(140, true);
        values.put(150, HexFormat.of().parseHex("0123456789abcdef"));
        values.put(160, new Date(946_684_800_000L));
        values.put(170, new ObjectLink(3, 0));
        values.put(1110, Map.of(0, "initial value"));
        values.put(1120, Map.of(0, 1024L));
        return new Instance(id, values);
    }

    /** Makes the instances that a server creates, and says so. */
    private static final class Instances extends BaseInstanceEnablerFactory {
        @Override
        public LwM2mInstanceEnabler create() {
            return new Instance();
        }

        @Override
        public LwM2mInstanceEnabler create(ObjectModel model, Integer id, Collection<Integer> existing) {
            LwM2mInstanceEnabler created = super.create(model, id, existing);
            Lines.print("created", "path", "/" + model.id + "/" + created.getId());
            return created;
        }
    }

    /** One object instance: values in a map, everything allowed that the model allows. */
    private static final class Instance extends BaseInstanceEnabler {

        private final Map<Integer, Object> initial;
        private final Map<Integer, LwM2mResource> resources = new ConcurrentHashMap<>();

        Instance() {
            initial = Map.of();
        }

        Instance(int id, Map<Integer, ?> values) {
            super(id);
            initial = Map.copyOf(values);
        }

        @Override
        public void setModel(ObjectModel model) {
            super.setModel(model);
            initial.forEach((id, value) -> resources.put(id, resource(model.resources.get(id), value)));
        }

        private static LwM2mResource resource(ResourceModel model, Object value) {
            if (value instanceof Map<?, ?> many) {
                Map<Integer, Object> values = new TreeMap<>();
                many.forEach((key, item) -> values.put((Integer) key, item));
                return LwM2mMultipleResource.newResource(model.id, values, model.type);
            }
            return LwM2mSingleResource.newResource(model.id, value, model.type);
        }

        void change(int id, String text) {
            ResourceModel kind = getModel().resources.get(id);
            Object value = switch (kind.type) {
            case FLOAT -> Double.valueOf(text);
            case INTEGER -> Long.valueOf(text);
            case UNSIGNED_INTEGER -> ULong.valueOf(text);
            case BOOLEAN -> Boolean.valueOf(text);
            case OPAQUE -> HexFormat.of().parseHex(text);
            case TIME -> new Date(Long.parseLong(text) * 1000);
            default -> text;
            };
            resources.put(id, LwM2mSingleResource.newResource(id, value, kind.type));
            fireResourceChange(id);
        }

        Object shown(String path) {
            int[] ids = ids(path);
            LwM2mResource resource = resources.get(ids[2]);
            if (resource == null) {
                return null;
            }
            return plain(resource.isMultiInstances() ? resource.getValue(ids.length > 3 ? ids[3] : 0)
                    : resource.getValue());
        }

        private static Object plain(Object value) {
            return value instanceof Date date ? (Object) (date.getTime() / 1000) : value;
        }

        private String path(int resource) {
            return "/" + getModel().id + "/" + getId() + "/" + resource;
        }

        @Override
        public ReadResponse read(LwM2mServer server, int id) {
            LwM2mResource resource = resources.get(id);
            return resource == null ? ReadResponse.notFound() : ReadResponse.success(resource);
        }

        @Override
        public WriteResponse write(LwM2mServer server, boolean replace, int id, LwM2mResource value) {
            LwM2mResource merged = value;
            if (!replace && value.isMultiInstances() && resources.get(id) != null) {
                Map<Integer, Object> values = new TreeMap<>();
                resources.get(id).getInstances().forEach((key, item) -> values.put(key, item.getValue()));
                value.getInstances().forEach((key, item) -> values.put(key, item.getValue()));
                merged = LwM2mMultipleResource.newResource(id, values, value.getType());
            }
            resources.put(id, merged);
            if (!server.isSystem()) {
                if (value.isMultiInstances()) {
                    value.getInstances().forEach((key, item) -> Lines.print("written", "path",
                            path(id) + "/" + key, "value", plain(item.getValue()), "replace", replace));
                } else {
                    Lines.print("written", "path", path(id), "value", plain(value.getValue()), "replace", replace);
                }
            }
            fireResourceChange(id);
            return WriteResponse.success();
        }

        @Override
        public WriteResponse write(LwM2mServer server, boolean replace, int id, int instance,
                LwM2mResourceInstance value) {
            return write(server, false, id,
                    LwM2mMultipleResource.newResource(id, Map.of(instance, value.getValue()), value.getType()));
        }

        @Override
        public ExecuteResponse execute(LwM2mServer server, int id, Arguments arguments) {
            Lines.print("executed", "path", path(id), "arguments", arguments.serialize());
            return ExecuteResponse.success();
        }

        @Override
        public ObserveResponse observe(LwM2mServer server, int id) {
            Lines.print("observed", "path", path(id));
            return super.observe(server, id);
        }

        @Override
        public void onDelete(LwM2mServer server) {
            Lines.print("deleted", "path", "/" + getModel().id + "/" + getId());
        }

        @Override
        public List<Integer> getAvailableResourceIds(ObjectModel model) {
            return model.resources.values().stream()
                    .filter(kind -> kind.operations.isExecutable() || resources.containsKey(kind.id))
                    .map(kind -> kind.id).sorted().toList();
        }
    }

    /** Says what becomes of the registration. */
    private static final class Reporter extends LwM2mClientObserverAdapter {
        @Override
        public void onRegistrationSuccess(LwM2mServer server, RegisterRequest request, String location) {
            Lines.print("registered", "location", location);
        }

        @Override
        public void onRegistrationFailure(LwM2mServer server, RegisterRequest request, ResponseCode code,
                String message, Exception cause) {
            Lines.print("failed", "what", "register", "code", String.valueOf(code), "reason", message);
        }

        @Override
        public void onRegistrationTimeout(LwM2mServer server, RegisterRequest request) {
            Lines.print("failed", "what", "register", "reason", "timeout");
        }

        @Override
        public void onUpdateSuccess(LwM2mServer server, UpdateRequest request) {
            Lines.print("updated");
        }

        @Override
        public void onUpdateFailure(LwM2mServer server, UpdateRequest request, ResponseCode code, String message,
                Exception cause) {
            Lines.print("failed", "what", "update", "code", String.valueOf(code), "reason", message);
        }

        @Override
        public void onDeregistrationSuccess(LwM2mServer server, DeregisterRequest request) {
            Lines.print("deregistered");
        }

        @Override
        public void onDeregistrationFailure(LwM2mServer server, DeregisterRequest request, ResponseCode code,
                String message, Exception cause) {
            Lines.print("failed", "what", "deregister", "code", String.valueOf(code), "reason", message);
        }

        @Override
        public void onUnexpectedError(Throwable error) {
            Lines.print("failed", "what", "client", "reason", error.toString());
        }
    }
}
