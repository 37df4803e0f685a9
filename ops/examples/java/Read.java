import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Prints the records of one of Freshet's topics, to its end as it is now: partition, offset, key and value, parted by
 * tabs.
 *
 * <pre>
 * java -cp 'lib/*' Read.java BROKERS REGISTRY freshet.mutations.g1
 * java -cp 'lib/*' Read.java BROKERS REGISTRY freshet.dead-letters
 * </pre>
 */
public final class Read {
    private final String registry;
    private final HttpClient http = HttpClient.newHttpClient();
    private final Map<Integer, Schema> schemas = new HashMap<>();

    private Read(String registry) {
        this.registry = registry;
    }

    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        properties.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        properties.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        try (Consumer<String, byte[]> consumer = new KafkaConsumer<>(properties)) {
            new Read(args[1]).print(consumer, args[2]);
        }
    }

    private void print(Consumer<String, byte[]> consumer, String topic) throws Exception {
        List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(each -> new TopicPartition(topic, each.partition()))
                .collect(Collectors.toList());
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
        consumer.assign(partitions);
        consumer.seekToBeginning(partitions);
        while (partitions.stream().anyMatch(each -> consumer.position(each) < ends.get(each))) {
            for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                String value = record.value() == null ? null : decode(record.value());
                System.out.println(record.partition() + "\t" + record.offset() + "\t" + record.key() + "\t" + value);
            }
        }
    }

    /** A zero byte, the id of the schema, and the record. */
    private String decode(byte[] value) throws Exception {
        int schemaId = ByteBuffer.wrap(value, 1, 4).getInt();
        Schema schema = schemas.get(schemaId);
        if (schema == null) {
            schema = fetchSchema(schemaId);
            schemas.put(schemaId, schema);
        }
        BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
        GenericRecord record = new GenericDatumReader<GenericRecord>(schema).read(null, decoder);
        return record.getSchema().getName() + " " + record;
    }

    private Schema fetchSchema(int id) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id)).build();
        String answer = http.send(request, BodyHandlers.ofString()).body();
        return new Schema.Parser().parse(new ObjectMapper().readTree(answer).get("schema").asText());
    }
}
